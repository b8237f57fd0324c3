"""nn.RNN over nn.SimpleCell."""

from __future__ import annotations

from functools import partial
from typing import Any

from flax import linen as nn

from .. import Operators
from ..activations import activation
from ._recurrent import recurrent


def build(ops: Operators, path: str, c: dict[str, Any]):
    return recurrent(ops, path, "rnn", c, partial(nn.SimpleCell, activation_fn=activation(c.get("activation", "tanh"))))
