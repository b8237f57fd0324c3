"""Reductions over axes."""

from __future__ import annotations

from typing import Any

from keras import ops as math

from .. import Operators

REDUCTIONS = {"mean": math.mean, "sum": math.sum, "max": math.max, "min": math.min}


def build(ops: Operators, path: str, c: dict[str, Any]):
    return lambda x: REDUCTIONS[c["op"]](x, axis=tuple(c["axes"]), keepdims=c.get("keep", False))
