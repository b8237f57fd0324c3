"""Slopes near a quarter, where training begins."""

from __future__ import annotations

import numpy as np

from . import Roles
from ..manifest import Layer


def normal(rng: np.random.Generator, layer: Layer) -> Roles:
    """Slopes of both signs."""
    return {role: (0.25 + 0.25 * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32)
            for role, shape in layer.roles.items()}
