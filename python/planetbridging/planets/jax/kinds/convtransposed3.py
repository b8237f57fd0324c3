"""A transposed convolution over three axes."""

from __future__ import annotations

from typing import Any

from .. import Operators
from ._convolution import transposed


def build(ops: Operators, path: str, c: dict[str, Any]):
    return transposed(ops, path, c, 3)
