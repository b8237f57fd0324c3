"""layers.SimpleRNN."""

from __future__ import annotations

from functools import partial
from typing import Any

from keras import layers

from .. import Operators
from ._recurrent import recurrent


def build(ops: Operators, path: str, c: dict[str, Any]):
    return recurrent(ops, path, c, partial(layers.SimpleRNN, activation=c.get("activation", "tanh")))
