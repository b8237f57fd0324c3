"""layers.Dense with its activation."""

from __future__ import annotations

from typing import Any

from .. import Operators
from ._linear import linear


def build(ops: Operators, path: str, c: dict[str, Any]):
    return linear(ops, path, c["input_dim"], c["output_dim"], c["bias"], "weight", "bias",
                  c["activation"])
