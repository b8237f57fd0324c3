"""Three nn.Linear."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import nn

from .. import Operators
from ...naming.pytorch.linear import linears


def build(ops: Operators, path: str, c: dict[str, Any]):
    module = SwiGlu(c["input_dim"], c["intermediate_dim"], c["bias"], ops.dtype)
    ops.plain(linears(path, {"gate": module.gate, "up": module.up, "down": module.down}))
    return ops.module(module, c)


class SwiGlu(nn.Module):
    def __init__(self, i: int, m: int, bias: bool, dtype):
        super().__init__()
        self.gate, self.up = (nn.Linear(i, m, bias=bias, dtype=dtype) for _ in "gu")
        self.down = nn.Linear(m, i, bias=bias, dtype=dtype)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))
