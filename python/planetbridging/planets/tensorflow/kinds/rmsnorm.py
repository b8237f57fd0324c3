"""layers.RMSNormalization."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators
from ...naming.tensorflow.rmsnorm import rmsnorm as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    return rmsnorm(ops, f"{path}.gamma", "gamma", c["dim"], c["eps"])


def rmsnorm(ops: Operators, name: str, role: str, dim: int, eps: float):
    """The norm whose gain is the array `name`; attention has two."""
    norm = layers.RMSNormalization(epsilon=eps, dtype=ops.dtype)
    norm.build((None, dim))
    for array, variable in naming(name, norm):
        ops.slot(array, variable, lambda w: w[role])
    return norm
