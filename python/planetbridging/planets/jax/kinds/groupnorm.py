"""nn.GroupNorm on channels-last tensors."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators
from ...chain import first, last
from ...naming.jax.norm import norm as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    # The fast variance, E[x^2] - E[x]^2, cancels in float32 on inputs with an offset.
    norm = nn.GroupNorm(num_groups=c["groups"], epsilon=c["eps"], use_scale=c["gamma"], use_bias=c["beta"],
                        use_fast_variance=False, dtype=ops.dtype, param_dtype=ops.dtype)
    arrays = {f"{path}.{role}": (leaf, lambda w, role=role: w[role]) for role, leaf in naming(c["gamma"], c["beta"]).items()}
    apply = ops.module(path, norm, (1, *c["input"], c["channels"]), arrays)
    return lambda x: first(ops, apply(last(ops, x)))
