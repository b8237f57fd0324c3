"""A table with a row for each id."""

from __future__ import annotations

import numpy as np

from . import Roles
from ..manifest import Layer


def normal(rng: np.random.Generator, layer: Layer) -> Roles:
    """Rows are looked up, not summed: no fan in."""
    return {role: rng.standard_normal(shape, dtype=np.float32) for role, shape in layer.roles.items()}
