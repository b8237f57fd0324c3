"""Kept statistics: a variance is never negative."""

from __future__ import annotations

import numpy as np

from . import Roles
from ..manifest import Layer


def normal(rng: np.random.Generator, layer: Layer) -> Roles:
    """Means near 0, variances and gains near 1, small shifts."""
    drawn = {role: rng.standard_normal(shape, dtype=np.float32) for role, shape in layer.roles.items()}
    near = {"variance": lambda n: np.exp(0.5 * n), "gamma": lambda n: 1.0 + 0.1 * n}
    return {role: near.get(role, lambda n: 0.1 * n)(n).astype(np.float32) for role, n in drawn.items()}
