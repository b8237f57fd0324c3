"""nn.BatchNorm in evaluation."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    channels, *positions = c["shape"]
    norm = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(positions)]
    module = norm(channels, eps=c["eps"], affine=c["gamma"], dtype=ops.dtype).eval()
    ops.plain([(f"{path}.mean", module.running_mean), (f"{path}.variance", module.running_var)])
    if c["gamma"]:
        ops.plain([(f"{path}.gamma", module.weight), (f"{path}.beta", module.bias)])
    return ops.module(module, c)
