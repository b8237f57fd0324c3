"""JAX through Flax (linen). Kernels are [in, out], channels last, one array for each LSTM gate."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from typing import Any, Callable

import jax
import numpy as np
import optax
from flax import linen as nn
from jax import numpy as jnp

from ...manifest import Model
from ..chain import Chain, Slot

jax.config.update("jax_enable_x64", True)

PACKAGES = {"jax": "jax", "jaxlib": "jaxlib", "flax": "flax", "optax": "optax", "numpy": "numpy", "scikit-learn": "sklearn"}
FLAGS = {"threads": "1", "x64": "true", "platform": "cpu"}

class Operators:
    channels_last = True

    def __init__(self, dtype: str, seed: int):
        self.dtype = jnp.dtype(dtype)
        self.key = jax.random.key(seed)
        self.slots: dict[str, Slot] = {}
        self.params: dict[str, Any] = {}

    def reshape(self, x, shape):
        return jnp.reshape(x, shape)

    def transpose(self, x, axes):
        return jnp.transpose(x, axes)

    def add(self, a, b):
        return jnp.add(a, b)

    def multiply(self, a, b):
        return jnp.multiply(a, b)

    def concat(self, parts, axis):
        return jnp.concatenate(parts, axis)

    def array(self, name: str, shape: tuple[int, ...]) -> Callable[[], Any]:
        """An array of no module; called, what it holds."""
        self.params[name] = {"array": jnp.zeros(shape, self.dtype)}
        get = lambda: self._leaf(name, ("array",))
        self.slots[name] = Slot(get, self._setter(name, ("array",)), lambda w, role=name.rsplit(".", 1)[1]: w[role])
        return get

    def module(self, name: str, module: nn.Module, sample: tuple[int, ...], arrays: dict[str, tuple]):
        """Initialises a linen module and registers its leaves: array name -> (leaf path, convert)."""
        self.key, key = jax.random.split(self.key)
        first = jnp.zeros(sample, jnp.int32 if isinstance(module, nn.Embed) else self.dtype)
        self.params[name] = module.init(key, first)["params"]
        for array, (leaf, convert) in arrays.items():
            self.slots[array] = Slot(lambda leaf=leaf: self._leaf(name, leaf), self._setter(name, leaf), convert)
        return lambda x: module.apply({"params": self.params[name]}, x)

    def _leaf(self, name: str, leaf: tuple[str, ...]):
        tree = self.params[name]
        for part in leaf:
            tree = tree[part]
        return tree

    def _setter(self, name: str, leaf: tuple[str, ...]):
        def put(value: np.ndarray) -> None:
            tree = self._leaf(name, leaf[:-1])
            if tree[leaf[-1]].shape != value.shape:
                raise ValueError(f"{name}.{leaf}: {value.shape} does not fit {tree[leaf[-1]].shape}")
            tree[leaf[-1]] = jnp.asarray(value, self.dtype)
        return put


def build(model: Model, dtype: str) -> Chain:
    return Chain(Operators(dtype, model.seed), model)


def forward(chain: Chain, inputs: list[np.ndarray], dtype: str) -> np.ndarray:
    return np.asarray(chain(*(jnp.asarray(x, dtype) for x in inputs)))


def train(chain: Chain, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """Mean squared error, Adam from optax."""
    xs, ys = jnp.asarray(x, "float32"), jnp.asarray(y, "float32")
    optimizer = optax.adam(rate)

    def loss(params, rows, targets):
        chain.ops.params = params
        return jnp.mean((chain(rows).reshape(len(rows), -1) - targets) ** 2)

    @jax.jit
    def step(params, state, rows, targets):
        updates, state = optimizer.update(jax.grad(loss)(params, rows, targets), state)
        return optax.apply_updates(params, updates), state

    params = chain.ops.params
    state, rng = optimizer.init(params), np.random.default_rng(chain.model.seed)
    for _ in range(epochs):
        order = rng.permutation(len(xs))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            params, state = step(params, state, xs[rows], ys[rows])
    chain.ops.params = params
