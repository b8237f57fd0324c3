"""layers.PReLU on channels-last tensors, a slope for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from .. import Operators
from ...chain import Slot, first, last


def build(ops: Operators, path: str, c: dict[str, Any]):
    channels, *positions = c["shape"]
    shared = tuple(range(1, len(positions) + 1))
    layer = layers.PReLU(shared_axes=shared, dtype=ops.dtype)
    layer.build((None, *positions, channels))
    # Keras keeps the shared axes, with an extent of 1.
    shape = tuple(layer.alpha.shape)
    ops.slots[f"{path}.slope"] = Slot(
        lambda: np.reshape(layer.alpha.numpy(), -1), lambda v: layer.alpha.assign(np.reshape(v, shape)),
        lambda w: w["slope"])
    return lambda x: first(ops, layer(last(ops, x)))
