"""layers.BatchNormalization in inference."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators
from ...chain import first, last


def build(ops: Operators, path: str, c: dict[str, Any]):
    channels, *positions = c["shape"]
    norm = layers.BatchNormalization(epsilon=c["eps"], scale=c["gamma"], center=c["beta"], dtype=ops.dtype)
    norm.build((None, *positions, channels))
    arrays = {"mean": norm.moving_mean, "variance": norm.moving_variance}
    arrays |= {"gamma": norm.gamma} if c["gamma"] else {}
    arrays |= {"beta": norm.beta} if c["beta"] else {}
    for role, variable in arrays.items():
        ops.slot(f"{path}.{role}", variable, lambda w, role=role: w[role])
    return lambda x: first(ops, norm(last(ops, x), training=False))
