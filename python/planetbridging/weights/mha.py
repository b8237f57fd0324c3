"""Four matrices, and gains where queries and keys are normed."""

from __future__ import annotations

from typing import Any


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    d, heads = c["d_model"], c["num_heads"]
    e = c.get("head_dim", d // heads)
    q, kv = heads * e, c.get("num_kv_heads", heads) * e
    found: dict[str, tuple[int, ...]] = {"q_weight": (q, d), "k_weight": (kv, d), "v_weight": (kv, d), "o_weight": (d, q)}
    if c.get("bias", True):
        found |= {"q_bias": (q,), "k_bias": (kv,), "v_bias": (kv,), "o_bias": (d,)}
    if c.get("qk_norm", "none") == "shared":
        found |= {"q_norm": (e,), "k_norm": (e,)}
    return found
