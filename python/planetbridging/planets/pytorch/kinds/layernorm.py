"""nn.LayerNorm."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators
from ...naming.pytorch.norm import norm


def build(ops: Operators, path: str, c: dict[str, Any]):
    module = nn.LayerNorm(c["dim"], eps=c["eps"], bias=c["beta"], dtype=ops.dtype)
    ops.plain(norm(path, module))
    return ops.module(module, c)
