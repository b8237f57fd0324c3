"""Reductions over axes."""

from __future__ import annotations

from typing import Any

import torch

from .. import Operators

REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}


def build(ops: Operators, path: str, c: dict[str, Any]):
    return lambda x: REDUCTIONS[c["op"]](x, dim=tuple(c["axes"]), keepdim=c.get("keep", False))
