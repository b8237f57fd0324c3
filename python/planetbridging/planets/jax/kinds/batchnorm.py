"""nn.BatchNorm with kept statistics."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators
from ...chain import first, last


def build(ops: Operators, path: str, c: dict[str, Any]):
    channels = c["shape"][0]
    norm = nn.BatchNorm(use_running_average=True, epsilon=c["eps"], use_scale=c["gamma"], use_bias=c["beta"],
                        dtype=ops.dtype, param_dtype=ops.dtype)
    roles = [("mean", True), ("variance", True), ("gamma", c["gamma"]), ("beta", c["beta"])]
    arrays = {role: ops.array(f"{path}.{role}", (channels,)) for role, there in roles if there}

    def apply(x):
        gains = {leaf: arrays[role]() for leaf, role in (("scale", "gamma"), ("bias", "beta")) if role in arrays}
        kept = {"mean": arrays["mean"](), "var": arrays["variance"]()}
        return first(ops, norm.apply({"params": gains, "batch_stats": kept}, last(ops, x)))
    return apply
