"""jax.nn.one_hot."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    return lambda x: jax.nn.one_hot(x.astype(jnp.int32), c["classes"], dtype=ops.dtype)
