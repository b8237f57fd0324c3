"""nn.RNN over nn.OptimizedLSTMCell."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators
from ._recurrent import recurrent


def build(ops: Operators, path: str, c: dict[str, Any]):
    return recurrent(ops, path, "lstm", c, nn.OptimizedLSTMCell)
