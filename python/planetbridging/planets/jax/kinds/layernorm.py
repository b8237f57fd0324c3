"""nn.LayerNorm."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators
from ...naming.jax.norm import norm as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    # The fast variance, E[x^2] - E[x]^2, cancels in float32 on inputs with an offset.
    norm = nn.LayerNorm(epsilon=c["eps"], use_bias=c["beta"], use_fast_variance=False,
                        dtype=ops.dtype, param_dtype=ops.dtype)
    leaves = naming(True, c["beta"])
    arrays = {f"{path}.{role}": (leaf, lambda w, role=role: w[role]) for role, leaf in leaves.items()}
    return ops.module(path, norm, (1, c["dim"]), arrays)
