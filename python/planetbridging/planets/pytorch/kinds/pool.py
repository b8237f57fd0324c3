"""nn.MaxPool, nn.AvgPool and nn.LPPool."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators
from ....mistake import Mistake
from ...windows import per_axis, same, sides


def build(ops: Operators, path: str, c: dict[str, Any]):
    axes = len(c["input"])
    kernel = per_axis(c["kernel_size"], axes)
    stride = per_axis(c.get("stride", c["kernel_size"]), axes)
    padding = same(sides(c.get("padding", 0), axes))
    if padding is None:
        raise Mistake(f"{path}: PyTorch pads either side alike")
    ceil = c.get("ceil", False)
    if c["op"] == "max":
        dilation = per_axis(c.get("dilation", 1), axes)
        module = getattr(nn, f"MaxPool{axes}d")(kernel, stride, padding, dilation, ceil_mode=ceil)
    elif c["op"] == "average":
        module = getattr(nn, f"AvgPool{axes}d")(kernel, stride, padding, ceil, c.get("count_padding", False))
    else:
        # Of one axis it takes a number alone.
        window = (kernel[0], stride[0]) if axes == 1 else (kernel, stride)
        module = getattr(nn, f"LPPool{axes}d")(c["op"]["lp"], *window, ceil)
    return ops.module(module, c)
