"""torch.mul and torch.add with parameters."""

from __future__ import annotations

from typing import Any

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    shape = tuple(c["shape"])
    flat = tuple(n for n in shape if n != 1) or (1,)
    gain = ops.parameter(f"{path}.gamma", flat) if c["gain"] else None
    shift = ops.parameter(f"{path}.beta", flat) if c["shift"] else None

    def apply(x):
        x = x if gain is None else ops.multiply(x, gain.reshape(shape))
        return x if shift is None else ops.add(x, shift.reshape(shape))
    return apply
