"""nn.Embedding with Loom's rule for unknown ids, a row of zeros, where stock raises."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import Operators
from ...naming.pytorch.embedding import embedding


def build(ops: Operators, path: str, c: dict[str, Any]):
    module = Embedding(c["vocab_size"], c["embedding_dim"], ops.dtype)
    ops.plain(embedding(path, module.table))
    return ops.module(module, c)


class Embedding(nn.Module):
    def __init__(self, vocab: int, dim: int, dtype):
        super().__init__()
        self.table = nn.Embedding(vocab, dim, dtype=dtype)

    def forward(self, x):
        ids = x.to(torch.int64)
        known = (ids >= 0) & (ids < self.table.num_embeddings)
        rows = self.table(torch.where(known, ids, 0))
        return torch.where(known[..., None], rows, torch.zeros((), dtype=rows.dtype))
