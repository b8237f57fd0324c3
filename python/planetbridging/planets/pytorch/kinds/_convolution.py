"""Convolutions, channels first."""

from __future__ import annotations

from typing import Any

from .. import Operators
from ...naming.pytorch.linear import linear


def convolution(ops: Operators, path: str, c: dict[str, Any], conv):
    """A module of `conv` and an activation."""
    module = conv(c["in_channels"], c["filters"], c["kernel_size"], stride=c["stride"],
                  padding=c["padding"], bias=c["bias"], dtype=ops.dtype)
    ops.plain(linear(path, module))
    return ops.module(module, c)
