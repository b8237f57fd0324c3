"""F.interpolate."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from .. import Operators
from ....mistake import Mistake

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    how, corners, size = c["interpolation"], c["corners"], tuple(c["output"])
    if how == "linear" and corners in ("half_pixel", "align"):
        return lambda x: F.interpolate(x, size, mode=LINEAR[len(size)], align_corners=corners == "align")
    mode = {("floor", "asymmetric"): "nearest", ("nearest", "half_pixel"): "nearest-exact"}.get((how, corners))
    if mode is None:
        raise Mistake(f"{path}: F.interpolate has no {how} with corners {corners}")
    return lambda x: F.interpolate(x, size, mode=mode)
