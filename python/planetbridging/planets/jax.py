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

from ..manifest import Model
from .chain import Chain, Slot, gate
from .naming import jax as naming

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")
FLAGS = {"threads": "1", "x64": "true", "platform": "cpu"}

ACTIVATIONS: dict[str, Callable] = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
}


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

    def linear(self, path: str, i: int, o: int, bias: bool, weight: str, shift: str):
        """nn.Dense, its kernel the transpose of Loom's matrix."""
        module = nn.Dense(o, use_bias=bias, dtype=self.dtype, param_dtype=self.dtype)
        arrays = {f"{path}.{role}": (leaf, lambda w, role=role: w[role].T)
                  for role, leaf in naming.kernel(bias, weight, shift).items()}
        return self.module(f"{path}.{weight}", module, (1, i), arrays)

    def layer(self, path: str, kind: str, c: dict[str, Any]):
        act = ACTIVATIONS[c.get("activation", "linear")]
        if kind == "dense":
            dense = self.linear(path, c["input_dim"], c["output_dim"], c.get("bias", True), "weight", "bias")
            return lambda x: act(dense(x))
        if kind.startswith("cnn"):
            conv = self.conv(path, int(kind[3:]), c)
            return lambda x: act(conv(x))
        if kind == "mha":
            return self.attention(path, c)
        if kind in ("lstm", "rnn"):
            return self.recurrent(path, kind, c)
        if kind == "layernorm":
            # The fast variance, E[x^2] - E[x]^2, cancels in float32 on inputs with an offset.
            norm = nn.LayerNorm(epsilon=c.get("eps", 1e-5), use_bias=c.get("beta", True), use_fast_variance=False,
                                dtype=self.dtype, param_dtype=self.dtype)
            leaves = naming.norm(True, c.get("beta", True))
            arrays = {f"{path}.{role}": (leaf, lambda w, role=role: w[role]) for role, leaf in leaves.items()}
            return self.module(path, norm, (1, c["dim"]), arrays)
        if kind == "rmsnorm":
            return self.rmsnorm(f"{path}.gamma", "gamma", c["dim"], c.get("eps", 1e-6))
        if kind == "embedding":
            return self.embedding(path, c["vocab_size"], c["embedding_dim"])
        if kind == "swiglu":
            i, m, bias = c["input_dim"], c["intermediate_dim"], c.get("bias", True)
            gate_, up = (self.linear(path, i, m, bias, f"{r}_weight", f"{r}_bias") for r in ("gate", "up"))
            down = self.linear(path, m, i, bias, "down_weight", "down_bias")
            return lambda x: down(jax.nn.silu(gate_(x)) * up(x))
        raise ValueError(f"{path}: JAX has no handler for {kind}")

    def rmsnorm(self, name: str, role: str, dim: int, eps: float):
        norm = nn.RMSNorm(epsilon=eps, dtype=self.dtype, param_dtype=self.dtype)
        [leaf] = naming.norm(True, False).values()
        return self.module(name, norm, (1, dim), {name: (leaf, lambda w: w[role])})

    def conv(self, path: str, rank: int, c: dict[str, Any]):
        """nn.Conv on channels-last tensors."""
        k, bias, pad = c["kernel_size"], c.get("bias", False), c.get("padding", 0)
        module = nn.Conv(c["filters"], (k,) * rank, strides=(c.get("stride", 1),) * rank,
                         padding=[(pad, pad)] * rank, use_bias=bias, dtype=self.dtype, param_dtype=self.dtype)
        axes = (*range(2, rank + 2), 1, 0)
        convert = {"weight": lambda w: w["weight"].transpose(axes), "bias": lambda w: w["bias"]}
        arrays = {f"{path}.{role}": (leaf, convert[role]) for role, leaf in naming.kernel(bias).items()}
        return self.module(path, module, (1, *c["input"], c["in_channels"]), arrays)

    def recurrent(self, path: str, kind: str, c: dict[str, Any]):
        """nn.RNN over OptimizedLSTMCell or SimpleCell: a Dense for each gate and each side."""
        i, h = c["input_size"], c["hidden_size"]
        if not c.get("bias", True):
            raise ValueError(f"{path}: Flax cells always have biases")
        cell_type = nn.OptimizedLSTMCell if kind == "lstm" else nn.SimpleCell
        cell = cell_type(h, dtype=self.dtype, param_dtype=self.dtype)
        arrays = {}
        for name, leaf in naming.recurrent(kind).items():
            role, g = name.split(".")
            arrays[f"{path}.{name}"] = (leaf, lambda w, role=role, g=g: gate(w[role], kind, g).T)
        return self.module(path, nn.RNN(cell), (1, c["seq_length"], i), arrays)

    def embedding(self, path: str, vocab: int, dim: int):
        """nn.Embed with Loom's rule for unknown ids: a row of zeros."""
        table = self.module(path, nn.Embed(vocab, dim, dtype=self.dtype, param_dtype=self.dtype), (1,),
                            {f"{path}.{role}": (leaf, lambda w: w["weight"])
                             for role, leaf in naming.embedding().items()})

        def look_up(x):
            ids = x.astype(jnp.int32)
            known = (ids >= 0) & (ids < vocab)
            return jnp.where(known[..., None], table(jnp.where(known, ids, 0)), jnp.zeros((), self.dtype))
        return look_up

    def attention(self, path: str, c: dict[str, Any]):
        """Four nn.Dense around jax.nn.dot_product_attention, with rotary positions (half-split)."""
        d, heads = c["d_model"], c["num_heads"]
        e, kv = c.get("head_dim", d // heads), c.get("num_kv_heads", heads)
        causal, bias, base = c.get("causal", True), c.get("bias", True), c.get("rope_base", 10000.0)
        sizes = {"q": (d, heads * e), "k": (d, kv * e), "v": (d, kv * e), "o": (heads * e, d)}
        q, k, v, o = (self.linear(path, i, n, bias, f"{r}_weight", f"{r}_bias") for r, (i, n) in sizes.items())
        norms = None
        if c.get("qk_norm", "none") == "shared":
            norms = [self.rmsnorm(f"{path}.{r}_norm", f"{r}_norm", e, c.get("eps", 1e-6)) for r in "qk"]
        half = e // 2

        def rotate(x):
            exponent = jnp.arange(half, dtype=self.dtype) * 2.0 / e
            angle = jnp.outer(jnp.arange(x.shape[1], dtype=self.dtype), 1.0 / base**exponent)[:, None, :]
            cos, sin = jnp.cos(angle), jnp.sin(angle)
            a, b = x[..., :half], x[..., half : 2 * half]
            return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], axis=-1)

        def attend(x):
            batch, seq, _ = x.shape
            qs, ks, vs = (f(x).reshape(batch, seq, n, e) for f, n in ((q, heads), (k, kv), (v, kv)))
            if norms:
                qs, ks = norms[0](qs), norms[1](ks)
            if c.get("rope", True):
                qs, ks = rotate(qs), rotate(ks)
            y = jax.nn.dot_product_attention(qs, ks, vs, is_causal=causal)
            return o(y.reshape(batch, seq, heads * e))
        return attend


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
