"""nn.max_pool and nn.avg_pool on channels-last tensors."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators
from ....mistake import Mistake
from ...chain import first, last
from ...windows import per_axis, sides


def build(ops: Operators, path: str, c: dict[str, Any]):
    axes = len(c["input"])
    kernel = per_axis(c["kernel_size"], axes)
    stride = per_axis(c.get("stride", c["kernel_size"]), axes)
    around = sides(c.get("padding", 0), axes)
    if c["op"] not in ("max", "average") or c.get("ceil") or c.get("dilation", 1) != 1:
        raise Mistake(f"{path}: Flax has no such pool")
    if c["op"] == "max":
        return lambda x: first(ops, nn.max_pool(last(ops, x), kernel, stride, around))
    counted = c.get("count_padding", False)
    # With 64 bits allowed it divides by a count that makes it float64.
    mean = lambda x: nn.avg_pool(x, kernel, stride, around, count_include_pad=counted).astype(x.dtype)
    return lambda x: first(ops, mean(last(ops, x)))
