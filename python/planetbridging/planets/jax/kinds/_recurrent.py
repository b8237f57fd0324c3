"""nn.RNN: a Dense for each gate and each side."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import linen as nn

from .. import Operators
from ....mistake import Mistake
from ...naming.jax.recurrent import recurrent as naming


def recurrent(ops: Operators, path: str, kind: str, c: dict[str, Any], cell_type):
    """nn.RNN over a cell."""
    i, h = c["input_size"], c["hidden_size"]
    if not c["bias"]:
        raise Mistake(f"{path}: Flax cells always have biases")
    cell = cell_type(h, dtype=ops.dtype, param_dtype=ops.dtype)
    arrays = {}
    for name, leaf in naming(kind).items():
        role, g = name.split(".")
        arrays[f"{path}.{name}"] = (leaf, lambda w, role=role, g=g: gate(w[role], kind, g).T)
    return ops.module(path, nn.RNN(cell), (1, c["seq_length"], i), arrays)


def gate(rows: np.ndarray, kind: str, name: str) -> np.ndarray:
    """One gate's block of an array that is stacked in Loom's order."""
    gates = "ifgo" if kind == "lstm" else "h"
    return np.split(rows, len(gates))[gates.index(name)]
