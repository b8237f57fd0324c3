"""Three matrices and their biases."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import small


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    i, m = c["input_dim"], c["intermediate_dim"]
    found: dict[str, tuple[int, ...]] = {"gate_weight": (m, i), "up_weight": (m, i), "down_weight": (i, m)}
    if c.get("bias", True):
        found |= {"gate_bias": (m,), "up_bias": (m,), "down_bias": (i,)}
    return found


def original(rng: np.random.Generator, c: dict[str, Any]) -> dict[str, np.ndarray]:
    """The original draws these biases too."""
    return {role: small(rng, shape) for role, shape in roles(c).items()}
