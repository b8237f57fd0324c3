"""nn.PReLU: one slope, or one for each channel."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    module = nn.PReLU(max(c["shape"]), dtype=ops.dtype)
    ops.plain([(f"{path}.slope", module.weight)])
    return ops.module(module, c)
