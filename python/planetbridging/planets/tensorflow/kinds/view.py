"""Views by keras.ops."""

from __future__ import annotations

from typing import Any

from keras import ops as math

from .. import Operators
from ...views import view

MODES = {"zeros": "constant", "reflect": "reflect"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    return view(math, MODES, c)
