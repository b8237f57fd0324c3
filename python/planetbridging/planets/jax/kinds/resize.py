"""jax.image.resize."""

from __future__ import annotations

from typing import Any

import jax

from .. import Operators
from ....mistake import Mistake


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["corners"] != "half_pixel" or c["interpolation"] not in ("linear", "nearest"):
        raise Mistake(f"{path}: jax.image.resize has no such corners")

    def resize(x):
        shape = (*x.shape[: len(x.shape) - len(c["output"])], *c["output"])
        return jax.image.resize(x, shape, c["interpolation"], antialias=False)
    return resize
