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
    e, kv = c.get("head_dim", d // heads), c.get("num_kv_heads", heads)
    causal, bias, base = c.get("causal", True), c.get("bias", True), c.get("rope_base", 10000.0)
    sizes = {"q": (d, heads * e), "k": (d, kv * e), "v": (d, kv * e), "o": (heads * e, d)}
    q, k, v, o = (linear(ops, path, i, n, bias, f"{r}_weight", f"{r}_bias") for r, (i, n) in sizes.items())
    norms = None
    if c.get("qk_norm", "none") == "shared":
        norms = [rmsnorm(ops, f"{path}.{r}_norm", f"{r}_norm", e, c.get("eps", 1e-6)) for r in "qk"]
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
        if c.get("rope", True):
            qs, ks = rotate(qs), rotate(ks)
        y = jax.nn.dot_product_attention(qs, ks, vs, is_causal=causal)
        return o(y.reshape(batch, seq, heads * e))
    return attend
