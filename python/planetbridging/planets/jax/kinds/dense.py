"""nn.Dense and an activation."""

from __future__ import annotations

from typing import Any

from .. import Operators
from ..activations import activation
from ._linear import linear


def build(ops: Operators, path: str, c: dict[str, Any]):
    act = activation(c["activation"])
    dense = linear(ops, path, c["input_dim"], c["output_dim"], c["bias"], "weight", "bias")
    return lambda x: act(dense(x))
