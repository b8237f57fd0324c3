"""layers.GroupNormalization on channels-last tensors."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators
from ...chain import first, last
from ...naming.tensorflow.layernorm import layernorm


def build(ops: Operators, path: str, c: dict[str, Any]):
    norm = layers.GroupNormalization(c["groups"], axis=-1, epsilon=c["eps"], scale=c["gamma"], center=c["beta"],
                                     dtype=ops.dtype)
    norm.build((None, *c["input"], c["channels"]))
    for name, variable in layernorm(path, norm):
        ops.slot(name, variable, lambda w, role=name.rsplit(".", 1)[1]: w[role])
    return lambda x: first(ops, norm(last(ops, x)))
