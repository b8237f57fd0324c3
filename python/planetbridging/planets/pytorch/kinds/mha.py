"""Four nn.Linear around scaled_dot_product_attention, with rotary positions (half-split)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .. import Operators
from ...naming.pytorch.linear import linears


def build(ops: Operators, path: str, c: dict[str, Any]):
    module = Attention(c, ops.dtype)
    ops.plain(linears(path, {"q": module.q, "k": module.k, "v": module.v, "o": module.o}))
    ops.plain((f"{path}.{name}_norm", norm.weight) for name, norm in zip("qk", module.norms or []))
    return ops.module(module, c)


class Attention(nn.Module):
    def __init__(self, c: dict[str, Any], dtype):
        super().__init__()
        d, self.heads = c["d_model"], c["num_heads"]
        self.e = c["head_dim"]
        self.kv = c["num_kv_heads"]
        self.causal, self.rope, self.base = c["causal"], c["rope"], c["rope_base"]
        bias, q, kv = c["bias"], self.heads * self.e, self.kv * self.e
        self.q, self.k, self.v, self.o = (
            nn.Linear(i, o, bias=bias, dtype=dtype) for i, o in ((d, q), (d, kv), (d, kv), (q, d))
        )
        self.norms = None
        if c["qk_norm"] == "shared":
            self.norms = nn.ModuleList([nn.RMSNorm(self.e, eps=c["eps"], dtype=dtype) for _ in "qk"])

    def rotate(self, x):
        half = self.e // 2
        exponent = torch.arange(half, dtype=x.dtype) * 2.0 / self.e
        angle = torch.outer(torch.arange(x.shape[-2], dtype=x.dtype), 1.0 / self.base**exponent)
        cos, sin = angle.cos(), angle.sin()
        a, b = x[..., :half], x[..., half : 2 * half]
        return torch.cat([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], dim=-1)

    def forward(self, x):
        batch, seq, _ = x.shape
        def heads(y, n):
            return y.view(batch, seq, n, self.e).transpose(1, 2)
        q, k, v = heads(self.q(x), self.heads), heads(self.k(x), self.kv), heads(self.v(x), self.kv)
        if self.norms is not None:
            q, k = self.norms[0](q), self.norms[1](k)
        if self.rope:
            q, k = self.rotate(q), self.rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=self.kv != self.heads)
        return self.o(y.transpose(1, 2).reshape(batch, seq, -1))
