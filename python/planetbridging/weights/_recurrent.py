"""What recurrent layers of any number of gates have."""

from __future__ import annotations

import numpy as np

from . import Roles, small
from ..manifest import Layer


def by_gate(rng: np.random.Generator, layer: Layer) -> Roles:
    """The original draws gate by gate, and has zeros for biases."""
    h, i = layer.config["hidden_size"], layer.config["input_size"]
    rows, _ = layer.roles["input_weight"]
    parts = [(small(rng, (h, i)), small(rng, (h, h))) for _ in range(rows // h)]
    return {
        "input_weight": np.concatenate([p[0] for p in parts]),
        "recurrent_weight": np.concatenate([p[1] for p in parts]),
        "bias": np.zeros(rows, np.float32),
    }
