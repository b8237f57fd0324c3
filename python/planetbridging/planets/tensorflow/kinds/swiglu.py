"""Three layers.Dense."""

from __future__ import annotations

from typing import Any

from keras import ops as math

from .. import Operators
from ._linear import linear


def build(ops: Operators, path: str, c: dict[str, Any]):
    i, m, bias = c["input_dim"], c["intermediate_dim"], c["bias"]
    gate = linear(ops, path, i, m, bias, "gate_weight", "gate_bias")
    up = linear(ops, path, i, m, bias, "up_weight", "up_bias")
    down = linear(ops, path, m, i, bias, "down_weight", "down_bias")
    return lambda x: down(math.multiply(math.silu(gate(x)), up(x)))
