"""layers.RMSNormalization; with 1 + gamma keras.ops.rms_normalization."""

from __future__ import annotations

from typing import Any

from keras import layers, ops as math

from .. import Operators
from ...naming.tensorflow.rmsnorm import rmsnorm as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c.get("unit_offset"):
        gamma = ops.variable(f"{path}.gamma", (c["dim"],))
        return lambda x: math.rms_normalization(x, scale=1.0 + gamma, axis=-1, epsilon=c["eps"])
    return rmsnorm(ops, f"{path}.gamma", "gamma", c["dim"], c["eps"])


def rmsnorm(ops: Operators, name: str, role: str, dim: int, eps: float):
    """The norm whose gain is the array `name`; attention has two."""
    norm = layers.RMSNormalization(epsilon=eps, dtype=ops.dtype)
    norm.build((None, dim))
    for array, variable in naming(name, norm):
        ops.slot(array, variable, lambda w: w[role])
    return norm
