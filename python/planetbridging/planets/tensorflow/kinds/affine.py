"""layers.Multiply and layers.Add with variables."""

from __future__ import annotations

from typing import Any

from keras import ops as math

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    shape = tuple(c["shape"])
    flat = tuple(n for n in shape if n != 1) or (1,)
    gain = ops.variable(f"{path}.gamma", flat) if c["gain"] else None
    shift = ops.variable(f"{path}.beta", flat) if c["shift"] else None

    def apply(x):
        x = x if gain is None else math.multiply(x, math.reshape(gain, shape))
        return x if shift is None else math.add(x, math.reshape(shift, shape))
    return apply
