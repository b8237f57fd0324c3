"""Convolutions and transposed ones on channels-last tensors."""

from __future__ import annotations

from typing import Any

from keras import layers, ops as math

from .. import Operators, turned
from ..activations import activation
from ....mistake import Mistake
from ...naming.tensorflow.kernel import kernel
from ...windows import per_axis, sides

PADDING = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def convolution(ops: Operators, path: str, c: dict[str, Any], rank: int):
    """keras.layers.ConvND; padding through its own layer."""
    bias, mode = c["bias"], c.get("padding_mode", "zeros")
    conv = getattr(layers, f"Conv{rank}D")(
        c["filters"], per_axis(c["kernel_size"], rank), strides=per_axis(c["stride"], rank), padding="valid", use_bias=bias,
        dilation_rate=per_axis(c.get("dilation", 1), rank), groups=c.get("groups", 1),
        activation=activation(c["activation"]), dtype=ops.dtype)
    conv.build((None, *(None,) * rank, c["in_channels"]))
    axes = (*range(2, rank + 2), 1, 0)
    for name, variable in kernel(path, conv):
        ops.slot(name, variable, turned(name, axes))
    around = sides(c["padding"], rank)
    if not any(map(any, around)):
        return conv
    if mode == "zeros":
        zeros = getattr(layers, f"ZeroPadding{rank}D")(around if rank > 1 else around[0], dtype=ops.dtype)
        return lambda x: conv(zeros(x))
    return lambda x: conv(math.pad(x, ((0, 0), *around, (0, 0)), PADDING[mode]))


def transposed(ops: Operators, path: str, c: dict[str, Any], rank: int):
    """keras.layers.ConvNDTranspose without padding; its kernel is `[spatial…, out, in]`."""
    if any(map(any, sides(c["padding"], rank))) or c["output_padding"] or c.get("groups", 1) > 1:
        raise Mistake(f"{path}: Keras's transposed convolution knows `valid` and `same` alone, and no groups")
    conv = getattr(layers, f"Conv{rank}DTranspose")(
        c["filters"], per_axis(c["kernel_size"], rank), strides=per_axis(c["stride"], rank), padding="valid",
        use_bias=c["bias"], dilation_rate=per_axis(c.get("dilation", 1), rank),
        activation=activation(c["activation"]), dtype=ops.dtype)
    conv.build((None, *c["input"], c["in_channels"]))
    axes = (*range(2, rank + 2), 0, 1)
    for name, variable in kernel(path, conv):
        ops.slot(name, variable, turned(name, axes))
    return conv
