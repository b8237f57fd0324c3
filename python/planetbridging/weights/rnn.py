"""One gate."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._recurrent import by_gate, recurrent


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return recurrent(c, 1)


def original(rng: np.random.Generator, c: dict[str, Any]) -> dict[str, np.ndarray]:
    return by_gate(rng, c, 1)
