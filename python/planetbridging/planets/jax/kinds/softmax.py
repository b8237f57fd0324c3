"""jax.nn.softmax and log_softmax over the last axis."""

from __future__ import annotations

from typing import Any

import jax

from .. import Operators
from ....mistake import Mistake

VARIANTS = {"standard": jax.nn.softmax, "log": jax.nn.log_softmax}


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["variant"] not in VARIANTS or c["over"] != "row":
        raise Mistake(f"{path}: JAX has no softmax {c['variant']} over the {c['over']}")
    return lambda x: VARIANTS[c["variant"]](x / c["temperature"], axis=-1)
