"""layers.MaxPooling and layers.AveragePooling on channels-last tensors."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators
from ....mistake import Mistake
from ...chain import first, last
from ...windows import per_axis, sides

POOLS = {"max": "MaxPooling", "average": "AveragePooling"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    axes = len(c["input"])
    kernel = per_axis(c["kernel_size"], axes)
    stride = per_axis(c.get("stride", c["kernel_size"]), axes)
    around = sides(c.get("padding", 0), axes)
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(c["input"], kernel, stride)]
    same = tuple((n // 2, n - n // 2) for n in total)
    unknown = c.get("ceil") or c.get("count_padding") or c.get("dilation", 1) != 1
    if c["op"] not in POOLS or unknown or (any(map(any, around)) and around != same):
        raise Mistake(f"{path}: Keras has no such pool")
    padding = "same" if any(map(any, around)) else "valid"
    pool = getattr(layers, f"{POOLS[c['op']]}{axes}D")(kernel, stride, padding=padding, dtype=ops.dtype)
    return lambda x: first(ops, pool(last(ops, x)))
