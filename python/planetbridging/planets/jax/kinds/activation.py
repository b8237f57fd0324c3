"""jax.nn's activations, alone."""

from __future__ import annotations

from typing import Any

from .. import Operators
from ..activations import activation


def build(ops: Operators, path: str, c: dict[str, Any]):
    return activation(c["function"])
