"""nn.RNN, with tanh or ReLU."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from .. import Operators
from ._recurrent import recurrent


def build(ops: Operators, path: str, c: dict[str, Any]):
    return recurrent(ops, path, c, partial(nn.RNN, nonlinearity=c.get("activation", "tanh")))
