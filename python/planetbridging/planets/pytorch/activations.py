"""PyTorch's activations by the names of configurations."""

from __future__ import annotations

from typing import Any, Callable

import torch
import torch.nn.functional as F

PLAIN: dict[str, Callable] = {
    "linear": lambda x: x,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_erf": F.gelu,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "mish": F.mish,
}

WITH_NUMBERS: dict[str, Callable] = {
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope),
    "clip": lambda x, min=None, max=None: torch.clamp(x, min, max),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "softplus": lambda x, beta: F.softplus(x, beta),
}


def activation(said: str | dict[str, Any]) -> Callable:
    """The function of a name, or of a name with its numbers."""
    if isinstance(said, str):
        return PLAIN[said]
    [(name, numbers)] = said.items()
    return lambda x: WITH_NUMBERS[name](x, **numbers)
