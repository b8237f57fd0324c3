"""nn.GroupNorm, and nn.InstanceNorm where each channel is a group."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators
from ...naming.pytorch.norm import norm


def build(ops: Operators, path: str, c: dict[str, Any]):
    channels, groups, axes = c["channels"], c["groups"], len(c["input"])
    if groups == channels:
        instance = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[axes]
        module = instance(channels, eps=c["eps"], affine=c["gamma"], dtype=ops.dtype)
    else:
        module = nn.GroupNorm(groups, channels, eps=c["eps"], affine=c["gamma"], dtype=ops.dtype)
    ops.plain(norm(path, module))
    return ops.module(module, c)
