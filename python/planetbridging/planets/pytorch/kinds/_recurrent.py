"""Recurrent layers that return every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import Operators
from ...naming.pytorch.recurrent import recurrent as naming


def recurrent(ops: Operators, path: str, c: dict[str, Any], cls):
    """A module of `cls`."""
    module = cls(c["input_size"], c["hidden_size"], batch_first=True, bias=c["bias"], dtype=ops.dtype)
    # Two biases that only their sum determines: an uneven split shows a dropped one.
    split = {
        "input_bias": lambda w: w["bias"] * np.float32(0.75),
        "recurrent_bias": lambda w: w["bias"] - w["bias"] * np.float32(0.75),
    }
    for name, parameter in naming(path, module):
        role = name.rsplit(".", 1)[1]
        ops.slot(name, parameter, split.get(role, lambda w, role=role: w[role]))
    ops.modules.append(module)
    return lambda x: module(x)[0]
