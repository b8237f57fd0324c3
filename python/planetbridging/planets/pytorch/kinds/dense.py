"""nn.Linear and an activation."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators
from ...naming.pytorch.linear import linear


def build(ops: Operators, path: str, c: dict[str, Any]):
    module = nn.Linear(c["input_dim"], c["output_dim"], bias=c["bias"], dtype=ops.dtype)
    ops.plain(linear(path, module))
    return ops.module(module, c)
