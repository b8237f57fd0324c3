"""nn.Embed with Loom's rule for unknown ids: a row of zeros."""

from __future__ import annotations

from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from .. import Operators
from ...naming.jax.embedding import embedding as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    vocab = c["vocab_size"]
    module = nn.Embed(vocab, c["embedding_dim"], dtype=ops.dtype, param_dtype=ops.dtype)
    table = ops.module(path, module, (1,), {f"{path}.{role}": (leaf, lambda w: w["weight"])
                                            for role, leaf in naming().items()})

    def look_up(x):
        ids = x.astype(jnp.int32)
        known = (ids >= 0) & (ids < vocab)
        return jnp.where(known[..., None], table(jnp.where(known, ids, 0)), jnp.zeros((), ops.dtype))
    return look_up
