"""A table with a row for each id."""

from __future__ import annotations

from typing import Any

import numpy as np


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {"weight": (c["vocab_size"], c["embedding_dim"])}


def normal(rng: np.random.Generator, c: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rows are looked up, not summed: no fan in."""
    return {role: rng.standard_normal(shape, dtype=np.float32) for role, shape in roles(c).items()}
