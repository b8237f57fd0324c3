"""Convolutions on channels-last tensors."""

from __future__ import annotations

from typing import Any

from keras import layers

from .. import Operators, activation, turned
from ...naming.tensorflow.kernel import kernel


def convolution(ops: Operators, path: str, c: dict[str, Any], rank: int):
    """keras.layers.ConvND; padding through its own layer."""
    k, bias, pad = c["kernel_size"], c["bias"], c["padding"]
    conv = getattr(layers, f"Conv{rank}D")(
        c["filters"], k, strides=c["stride"], padding="valid", use_bias=bias,
        activation=activation(c["activation"]), dtype=ops.dtype)
    conv.build((None, *(None,) * rank, c["in_channels"]))
    axes = (*range(2, rank + 2), 1, 0)
    for name, variable in kernel(path, conv):
        ops.slot(name, variable, turned(name, axes))
    if pad == 0:
        return conv
    zeros = getattr(layers, f"ZeroPadding{rank}D")(pad, dtype=ops.dtype)
    return lambda x: conv(zeros(x))
