"""layers.LayerNormalization."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators, turned
from ...naming.tensorflow.layernorm import layernorm


def build(ops: Operators, path: str, c: dict[str, Any]):
    norm = layers.LayerNormalization(epsilon=c["eps"], center=c["beta"], dtype=ops.dtype)
    norm.build((None, c["dim"]))
    for name, variable in layernorm(path, norm):
        ops.slot(name, variable, turned(name))
    return norm
