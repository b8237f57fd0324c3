"""Keras's activations by the names of configurations."""

from __future__ import annotations

from typing import Any, Callable

import keras
from keras import ops

NAMED: dict[str, Callable] = {
    "gelu": lambda x: keras.activations.gelu(x, approximate=True),
    "gelu_erf": lambda x: keras.activations.gelu(x, approximate=False),
    "hard_swish": keras.activations.hard_silu,
    # Keras's default is 0.2, of older versions 0.3.
    "leaky_relu": lambda x: keras.activations.leaky_relu(x, negative_slope=0.01),
}

WITH_NUMBERS: dict[str, Callable] = {
    "leaky_relu": lambda x, slope: keras.activations.leaky_relu(x, negative_slope=slope),
    "clip": lambda x, min=float("-inf"), max=float("inf"): ops.clip(x, min, max),
    "elu": lambda x, alpha: keras.activations.elu(x, alpha),
}


def activation(said: str | dict[str, Any]) -> Any:
    """The function of a name, or of a name with its numbers."""
    if isinstance(said, str):
        return NAMED.get(said) or keras.activations.get(said)
    [(name, numbers)] = said.items()
    return lambda x: WITH_NUMBERS[name](x, **numbers)
