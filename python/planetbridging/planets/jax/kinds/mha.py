"""Four nn.Dense around jax.nn.dot_product_attention, with rotary positions (half-split)."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from .. import Operators
from ._linear import linear
from .rmsnorm import rmsnorm


def build(ops: Operators, path: str, c: dict[str, Any]):
    d, heads = c["d_model"], c["num_heads"]
    e, kv = c["head_dim"], c["num_kv_heads"]
    causal, bias, base = c["causal"], c["bias"], c["rope_base"]
    sizes = {"q": (d, heads * e), "k": (d, kv * e), "v": (d, kv * e), "o": (heads * e, d)}
    q, k, v, o = (linear(ops, path, i, n, bias, f"{r}_weight", f"{r}_bias") for r, (i, n) in sizes.items())
    norms = None
    if c["qk_norm"] == "shared":
        norms = [rmsnorm(ops, f"{path}.{r}_norm", f"{r}_norm", e, c["eps"]) for r in "qk"]
    half = e // 2

    def rotate(x):
        exponent = jnp.arange(half, dtype=ops.dtype) * 2.0 / e
        angle = jnp.outer(jnp.arange(x.shape[1], dtype=ops.dtype), 1.0 / base**exponent)[:, None, :]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        a, b = x[..., :half], x[..., half : 2 * half]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], axis=-1)

    def attend(x):
        batch, seq, _ = x.shape
        qs, ks, vs = (f(x).reshape(batch, seq, n, e) for f, n in ((q, heads), (k, kv), (v, kv)))
        if norms:
            qs, ks = norms[0](qs), norms[1](ks)
        if c["rope"]:
            qs, ks = rotate(qs), rotate(ks)
        y = jax.nn.dot_product_attention(qs, ks, vs, is_causal=causal)
        return o(y.reshape(batch, seq, heads * e))
    return attend
