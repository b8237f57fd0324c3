"""jnp.multiply and jnp.add with arrays."""

from __future__ import annotations

from typing import Any

from jax import numpy as jnp

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    shape = tuple(c["shape"])
    flat = tuple(n for n in shape if n != 1) or (1,)
    gain = ops.array(f"{path}.gamma", flat) if c["gain"] else None
    shift = ops.array(f"{path}.beta", flat) if c["shift"] else None

    def apply(x):
        x = x if gain is None else ops.multiply(x, jnp.reshape(gain(), shape))
        return x if shift is None else ops.add(x, jnp.reshape(shift(), shape))
    return apply
