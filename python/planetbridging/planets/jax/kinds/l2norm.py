"""Rows by their jnp.linalg.norm."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["guard"] == "floor":
        return lambda x: x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), c["eps"])
    return lambda x: x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + c["eps"])
