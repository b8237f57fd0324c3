"""nn.Conv1d and an activation."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators
from ._convolution import convolution


def build(ops: Operators, path: str, c: dict[str, Any]):
    return convolution(ops, path, c, nn.Conv1d)
