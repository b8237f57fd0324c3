"""tf.image.resize on channels-last pictures."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .. import Operators
from ....mistake import Mistake
from ...chain import first, last

METHODS = {"linear": "bilinear", "nearest": "nearest"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["corners"] != "half_pixel" or c["interpolation"] not in METHODS or len(c["output"]) != 2:
        raise Mistake(f"{path}: tf.image.resize has no such corners")
    # It rounds to float32 whatever it is given, so that float64 has no answer of its own.
    method = METHODS[c["interpolation"]]
    return lambda x: first(ops, tf.cast(tf.image.resize(last(ops, x), c["output"], method), ops.dtype))
