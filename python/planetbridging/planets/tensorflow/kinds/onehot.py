"""keras.ops.one_hot."""

from __future__ import annotations

from typing import Any

from keras import ops as math

from .. import Operators


def build(ops: Operators, path: str, c: dict[str, Any]):
    return lambda x: math.one_hot(math.cast(x, "int32"), c["classes"], dtype=ops.dtype)
