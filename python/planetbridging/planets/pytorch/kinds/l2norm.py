"""F.normalize; with eps under the root what it is made of."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["guard"] == "floor":
        return lambda x: F.normalize(x, dim=-1, eps=c["eps"])
    return lambda x: x * torch.rsqrt(x.square().sum(-1, keepdim=True) + c["eps"])
