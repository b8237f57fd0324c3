"""nn.Conv on channels-last tensors."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from .. import Operators, activation
from ...naming.jax.kernel import kernel


def convolution(ops: Operators, path: str, c: dict[str, Any], rank: int):
    """nn.Conv over `rank` axes and an activation."""
    k, bias, pad, act = c["kernel_size"], c["bias"], c["padding"], activation(c)
    module = nn.Conv(c["filters"], (k,) * rank, strides=(c["stride"],) * rank,
                     padding=[(pad, pad)] * rank, use_bias=bias, dtype=ops.dtype, param_dtype=ops.dtype)
    axes = (*range(2, rank + 2), 1, 0)
    convert = {"weight": lambda w: w["weight"].transpose(axes), "bias": lambda w: w["bias"]}
    arrays = {f"{path}.{role}": (leaf, convert[role]) for role, leaf in kernel(bias).items()}
    conv = ops.module(path, module, (1, *c["input"], c["in_channels"]), arrays)
    return lambda x: act(conv(x))
