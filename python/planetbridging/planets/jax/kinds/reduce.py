"""Reductions over axes."""

from __future__ import annotations

from typing import Any

from jax import numpy as jnp

from .. import Operators

REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum, "max": jnp.max, "min": jnp.min}


def build(ops: Operators, path: str, c: dict[str, Any]):
    return lambda x: REDUCTIONS[c["op"]](x, axis=tuple(c["axes"]), keepdims=c.get("keep", False))
