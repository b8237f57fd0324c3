"""nn.Conv and nn.ConvTranspose on channels-last tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from .. import Operators
from ..activations import activation
from ....mistake import Mistake
from ...naming.jax.kernel import kernel
from ...windows import per_axis, sides

PADDING = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def convolution(ops: Operators, path: str, c: dict[str, Any], rank: int):
    """nn.Conv over `rank` axes and an activation."""
    bias, act, mode = c["bias"], activation(c["activation"]), c.get("padding_mode", "zeros")
    around = sides(c["padding"], rank)
    module = nn.Conv(c["filters"], per_axis(c["kernel_size"], rank), strides=per_axis(c["stride"], rank),
                     padding=around if mode == "zeros" else "VALID", kernel_dilation=per_axis(c.get("dilation", 1), rank),
                     feature_group_count=c.get("groups", 1), use_bias=bias, dtype=ops.dtype, param_dtype=ops.dtype)
    axes = (*range(2, rank + 2), 1, 0)
    convert = {"weight": lambda w: w["weight"].transpose(axes), "bias": lambda w: w["bias"]}
    arrays = {f"{path}.{role}": (leaf, convert[role]) for role, leaf in kernel(bias).items()}
    reach = c["input"] if mode == "zeros" else [n + a + b for n, (a, b) in zip(c["input"], around)]
    conv = ops.module(path, module, (1, *reach, c["in_channels"]), arrays)
    if mode == "zeros":
        return lambda x: act(conv(x))
    return lambda x: act(conv(jnp.pad(x, ((0, 0), *around, (0, 0)), PADDING[mode])))


def transposed(ops: Operators, path: str, c: dict[str, Any], rank: int):
    """nn.ConvTranspose without padding; its kernel is `[spatial…, in, out]`, and stands the other way round."""
    if any(map(any, sides(c["padding"], rank))) or c["output_padding"] or c.get("groups", 1) > 1:
        raise Mistake(f"{path}: nn.ConvTranspose is used without padding and groups here")
    bias, act = c["bias"], activation(c["activation"])
    module = nn.ConvTranspose(c["filters"], per_axis(c["kernel_size"], rank), strides=per_axis(c["stride"], rank),
                              padding="VALID", kernel_dilation=per_axis(c.get("dilation", 1), rank), use_bias=bias,
                              dtype=ops.dtype, param_dtype=ops.dtype)
    axes = (*range(2, rank + 2), 1, 0)
    convert = {"weight": lambda w: np.flip(w["weight"].transpose(axes), tuple(range(rank))), "bias": lambda w: w["bias"]}
    arrays = {f"{path}.{role}": (leaf, convert[role]) for role, leaf in kernel(bias).items()}
    conv = ops.module(path, module, (1, *c["input"], c["in_channels"]), arrays)
    return lambda x: act(conv(x))
