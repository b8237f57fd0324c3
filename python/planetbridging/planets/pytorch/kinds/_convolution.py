"""Convolutions and transposed ones, channels first."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import nn

from .. import Operators
from ....mistake import Mistake
from ...naming.pytorch.linear import linear
from ...windows import per_axis, same, sides


def convolution(ops: Operators, path: str, c: dict[str, Any], conv):
    """A module of `conv` and an activation."""
    axes = len(c["input"])
    around = sides(c["padding"], axes)
    padding, mode = same(around), c.get("padding_mode", "zeros")
    module = conv(c["in_channels"], c["filters"], per_axis(c["kernel_size"], axes),
                  stride=per_axis(c["stride"], axes), padding=padding or 0, dilation=per_axis(c.get("dilation", 1), axes),
                  groups=c.get("groups", 1), bias=c["bias"], padding_mode=mode, dtype=ops.dtype)
    ops.plain(linear(path, module))
    if padding is not None:
        return ops.module(module, c)
    flat = [n for pair in reversed(around) for n in pair]
    inner = ops.module(module, c)
    return lambda x: inner(F.pad(x, flat, "constant" if mode == "zeros" else mode))


def transposed(ops: Operators, path: str, c: dict[str, Any], axes: int):
    """nn.ConvTransposeNd and an activation; its weight is `[in, out of a group, spatial…]`."""
    padding = same(sides(c["padding"], axes))
    if padding is None:
        raise Mistake(f"{path}: PyTorch cuts either side alike")
    groups = c.get("groups", 1)
    module = getattr(nn, f"ConvTranspose{axes}d")(
        c["in_channels"], c["filters"], per_axis(c["kernel_size"], axes), stride=per_axis(c["stride"], axes),
        padding=padding, output_padding=c["output_padding"], groups=groups, bias=c["bias"],
        dilation=per_axis(c.get("dilation", 1), axes), dtype=ops.dtype)

    def turned(w):
        kernel = w["weight"]
        filters, channels, *window = kernel.shape
        blocks = kernel.reshape(groups, filters // groups, channels, *window)
        return blocks.swapaxes(1, 2).reshape(groups * channels, filters // groups, *window)
    for name, parameter in linear(path, module):
        ops.slot(name, parameter, turned if name.endswith("weight") else lambda w: w["bias"])
    return ops.module(module, c)
