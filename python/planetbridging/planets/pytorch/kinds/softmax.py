"""F.softmax and F.log_softmax over the last axis."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from .. import Operators
from ....mistake import Mistake

VARIANTS = {"standard": F.softmax, "log": F.log_softmax}


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["variant"] not in VARIANTS or c["over"] != "row":
        raise Mistake(f"{path}: PyTorch has no softmax {c['variant']} over the {c['over']}")
    return lambda x: VARIANTS[c["variant"]](x / c["temperature"], dim=-1)
