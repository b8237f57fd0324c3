"""keras.activations, alone."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators
from ..activations import activation


def build(ops: Operators, path: str, c: dict[str, Any]):
    return layers.Activation(activation(c["function"]), dtype=ops.dtype)
