"""Views by jax.numpy."""

from __future__ import annotations

from typing import Any

from jax import numpy as jnp

from .. import Operators
from ...views import view

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    return view(jnp, MODES, c)
