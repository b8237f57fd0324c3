"""JAX's activations by the names of configurations."""

from __future__ import annotations

from typing import Any, Callable

import jax
from jax import numpy as jnp

PLAIN: dict[str, Callable] = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_erf": lambda x: jax.nn.gelu(x, approximate=False),
    "hard_swish": jax.nn.hard_swish,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
}

WITH_NUMBERS: dict[str, Callable] = {
    "leaky_relu": lambda x, slope: jax.nn.leaky_relu(x, slope),
    "clip": lambda x, min=None, max=None: jnp.clip(x, min, max),
    "elu": lambda x, alpha: jax.nn.elu(x, alpha),
}


def activation(said: str | dict[str, Any]) -> Callable:
    """The function of a name, or of a name with its numbers."""
    if isinstance(said, str):
        return PLAIN[said]
    [(name, numbers)] = said.items()
    return lambda x: WITH_NUMBERS[name](x, **numbers)
