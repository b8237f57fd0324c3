"""A convolution over two axes."""

from __future__ import annotations

from typing import Any

from .. import Operators
from ._convolution import convolution


def build(ops: Operators, path: str, c: dict[str, Any]):
    return convolution(ops, path, c, 2)
