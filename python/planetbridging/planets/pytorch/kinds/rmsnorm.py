"""nn.RMSNorm; with 1 + gamma F.rms_norm."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import nn

from .. import Operators
from ...naming.pytorch.norm import norm


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c.get("unit_offset"):
        gamma = ops.parameter(f"{path}.gamma", (c["dim"],))
        return lambda x: F.rms_norm(x, (c["dim"],), 1.0 + gamma, c["eps"])
    module = nn.RMSNorm(c["dim"], eps=c["eps"], dtype=ops.dtype)
    ops.plain(norm(path, module))
    return ops.module(module, c)
