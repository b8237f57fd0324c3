"""What recurrent layers of any number of gates have."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import present, small


def recurrent(c: dict[str, Any], gates: int) -> dict[str, tuple[int, ...]]:
    """The gates' matrices and biases, stacked."""
    i, h = c["input_size"], c["hidden_size"]
    n = gates * h
    return present(input_weight=(n, i), recurrent_weight=(n, h), bias=(n,) if c.get("bias", True) else None)


def by_gate(rng: np.random.Generator, c: dict[str, Any], gates: int) -> dict[str, np.ndarray]:
    """The original draws gate by gate, and has zeros for biases."""
    h = c["hidden_size"]
    parts = [(small(rng, (h, c["input_size"])), small(rng, (h, h))) for _ in range(gates)]
    return {
        "input_weight": np.concatenate([p[0] for p in parts]),
        "recurrent_weight": np.concatenate([p[1] for p in parts]),
        "bias": np.zeros(gates * h, np.float32),
    }
