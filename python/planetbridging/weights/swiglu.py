"""Three matrices and their biases."""

from __future__ import annotations

import numpy as np

from . import Roles, small
from ..manifest import Layer


def original(rng: np.random.Generator, layer: Layer) -> Roles:
    """The original draws these biases too."""
    return {role: small(rng, shape) for role, shape in layer.roles.items()}
