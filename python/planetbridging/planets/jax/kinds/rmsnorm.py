"""nn.RMSNorm."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators
from ...naming.jax.norm import norm as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c.get("unit_offset"):
        gamma = ops.array(f"{path}.gamma", (c["dim"],))
        norm = nn.RMSNorm(epsilon=c["eps"], use_scale=False, dtype=ops.dtype, param_dtype=ops.dtype)
        return lambda x: norm.apply({}, x) * (1.0 + gamma())
    return rmsnorm(ops, f"{path}.gamma", "gamma", c["dim"], c["eps"])


def rmsnorm(ops: Operators, name: str, role: str, dim: int, eps: float):
    """The norm whose gain is the array `name`; attention has two."""
    norm = nn.RMSNorm(epsilon=eps, dtype=ops.dtype, param_dtype=ops.dtype)
    [leaf] = naming(True, False).values()
    return ops.module(name, norm, (1, dim), {name: (leaf, lambda w: w[role])})
