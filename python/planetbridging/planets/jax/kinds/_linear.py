"""A matrix with a bias."""

from __future__ import annotations

from flax import linen as nn

from .. import Operators
from ...naming.jax.kernel import kernel


def linear(ops: Operators, path: str, i: int, o: int, bias: bool, weight: str, shift: str):
    """nn.Dense, its kernel the transpose of Loom's matrix."""
    module = nn.Dense(o, use_bias=bias, dtype=ops.dtype, param_dtype=ops.dtype)
    arrays = {f"{path}.{role}": (leaf, lambda w, role=role: w[role].T)
              for role, leaf in kernel(bias, weight, shift).items()}
    return ops.module(f"{path}.{weight}", module, (1, i), arrays)
