"""Three nn.Dense."""

from __future__ import annotations

from typing import Any

import jax

from .. import Operators
from ._linear import linear


def build(ops: Operators, path: str, c: dict[str, Any]):
    i, m, bias = c["input_dim"], c["intermediate_dim"], c["bias"]
    gate, up = (linear(ops, path, i, m, bias, f"{r}_weight", f"{r}_bias") for r in ("gate", "up"))
    down = linear(ops, path, m, i, bias, "down_weight", "down_bias")
    return lambda x: down(jax.nn.silu(gate(x)) * up(x))
