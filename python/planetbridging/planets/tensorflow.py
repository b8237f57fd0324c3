"""TensorFlow through Keras 3. Kernels are [in, out], channels last, recurrent biases fused."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ..manifest import Model
from .chain import Chain, Slot
from .naming import tensorflow as naming

try:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
except RuntimeError:
    # A process that has used TensorFlow before keeps its threads; a dump has a process of its own.
    pass
tf.config.experimental.enable_op_determinism()

PACKAGES = ("tensorflow-cpu", "keras", "numpy", "scikit-learn")
FLAGS = {"threads": "1", "op_determinism": "true", "backend": "tensorflow"}


def activation(name: str):
    if name == "gelu":
        return lambda x: keras.activations.gelu(x, approximate=True)
    return keras.activations.get(name)


def turned(name: str, axes: tuple[int, ...] = (1, 0)):
    """How an array comes from Loom's layout: matrices and kernels turned, the rest as it is."""
    role = name.rsplit(".", 1)[1]
    return lambda w: w[role].transpose(axes) if w[role].ndim > 1 else w[role]


class Operators:
    channels_last = True

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.slots: dict[str, Slot] = {}

    def reshape(self, x, shape):
        return ops.reshape(x, shape)

    def transpose(self, x, axes):
        return ops.transpose(x, axes)

    def add(self, a, b):
        return layers.Add(dtype=self.dtype)([a, b])

    def slot(self, name: str, variable, convert) -> None:
        self.slots[name] = Slot(lambda: ops.convert_to_numpy(variable), variable.assign, convert)

    def linear(self, path: str, i: int, o: int, bias: bool, weight: str, shift: str, act: str = "linear"):
        """keras.layers.Dense, its kernel the transpose of Loom's matrix."""
        dense = layers.Dense(o, use_bias=bias, activation=activation(act), dtype=self.dtype)
        dense.build((None, i))
        for name, variable in naming.kernel(path, dense, weight, shift):
            self.slot(name, variable, turned(name))
        return dense

    def layer(self, path: str, kind: str, c: dict[str, Any]):
        dtype = self.dtype
        if kind == "dense":
            return self.linear(path, c["input_dim"], c["output_dim"], c.get("bias", True), "weight", "bias",
                               c.get("activation", "linear"))
        if kind.startswith("cnn"):
            return self.conv(path, int(kind[3:]), c)
        if kind == "mha":
            return self.attention(path, c)
        if kind in ("lstm", "rnn"):
            bias = c.get("bias", True)
            cls = {"lstm": layers.LSTM, "rnn": layers.SimpleRNN}[kind]
            rnn = cls(c["hidden_size"], return_sequences=True, use_bias=bias, dtype=dtype)
            rnn.build((None, c["seq_length"], c["input_size"]))
            for name, variable in naming.recurrent(path, rnn):
                self.slot(name, variable, turned(name))
            return rnn
        if kind == "layernorm":
            norm = layers.LayerNormalization(epsilon=c.get("eps", 1e-5), center=c.get("beta", True), dtype=dtype)
            norm.build((None, c["dim"]))
            for name, variable in naming.layernorm(path, norm):
                self.slot(name, variable, turned(name))
            return norm
        if kind == "rmsnorm":
            return self.rmsnorm(f"{path}.gamma", "gamma", c["dim"], c.get("eps", 1e-6))
        if kind == "embedding":
            return self.embedding(path, c["vocab_size"], c["embedding_dim"])
        if kind == "swiglu":
            i, m, bias = c["input_dim"], c["intermediate_dim"], c.get("bias", True)
            gate = self.linear(path, i, m, bias, "gate_weight", "gate_bias")
            up = self.linear(path, i, m, bias, "up_weight", "up_bias")
            down = self.linear(path, m, i, bias, "down_weight", "down_bias")
            return lambda x: down(ops.multiply(ops.silu(gate(x)), up(x)))
        raise ValueError(f"{path}: TensorFlow has no handler for {kind}")

    def rmsnorm(self, name: str, role: str, dim: int, eps: float):
        norm = layers.RMSNormalization(epsilon=eps, dtype=self.dtype)
        norm.build((None, dim))
        for name, variable in naming.rmsnorm(name, norm):
            self.slot(name, variable, lambda w: w[role])
        return norm

    def conv(self, path: str, rank: int, c: dict[str, Any]):
        """keras.layers.ConvND on channels-last tensors; padding through its own layer."""
        k, bias, pad = c["kernel_size"], c.get("bias", False), c.get("padding", 0)
        conv = getattr(layers, f"Conv{rank}D")(
            c["filters"], k, strides=c.get("stride", 1), padding="valid", use_bias=bias,
            activation=activation(c.get("activation", "linear")), dtype=self.dtype)
        conv.build((None, *(None,) * rank, c["in_channels"]))
        axes = (*range(2, rank + 2), 1, 0)
        for name, variable in naming.kernel(path, conv):
            self.slot(name, variable, turned(name, axes))
        if pad == 0:
            return conv
        zeros = getattr(layers, f"ZeroPadding{rank}D")(pad, dtype=self.dtype)
        return lambda x: conv(zeros(x))

    def embedding(self, path: str, vocab: int, dim: int):
        """keras.layers.Embedding with Loom's rule for unknown ids: a row of zeros."""
        table = layers.Embedding(vocab, dim, dtype=self.dtype)
        table.build()
        for name, variable in naming.embedding(path, table):
            self.slot(name, variable, lambda w: w["weight"])

        def look_up(x):
            ids = ops.cast(x, "int32")
            known = ops.logical_and(ids >= 0, ids < vocab)
            rows = table(ops.where(known, ids, 0))
            return ops.where(ops.expand_dims(known, -1), rows, ops.zeros_like(rows))
        return look_up

    def attention(self, path: str, c: dict[str, Any]):
        """Four Dense layers around ops.dot_product_attention, with rotary positions (half-split)."""
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
            exponent = ops.arange(half, dtype=self.dtype) * 2.0 / e
            positions = ops.arange(x.shape[1], dtype=self.dtype)
            angle = ops.outer(positions, 1.0 / ops.power(ops.cast(base, self.dtype), exponent))[:, None, :]
            cos, sin = ops.cos(angle), ops.sin(angle)
            a, b = x[..., :half], x[..., half : 2 * half]
            return ops.concatenate([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], axis=-1)

        def attend(x):
            seq = x.shape[1]
            qs, ks, vs = (ops.reshape(f(x), (-1, seq, n, e)) for f, n in ((q, heads), (k, kv), (v, kv)))
            if norms:
                qs, ks = norms[0](qs), norms[1](ks)
            if c.get("rope", True):
                qs, ks = rotate(qs), rotate(ks)
            if kv != heads:
                ks, vs = ops.repeat(ks, heads // kv, axis=2), ops.repeat(vs, heads // kv, axis=2)
            y = ops.dot_product_attention(qs, ks, vs, is_causal=causal)
            return o(ops.reshape(y, (-1, seq, heads * e)))
        return attend


def build(model: Model, dtype: str) -> Chain:
    keras.utils.set_random_seed(model.seed)
    return Chain(Operators(dtype), model)


def forward(chain: Chain, inputs: list[np.ndarray], dtype: str) -> np.ndarray:
    return ops.convert_to_numpy(chain(*(tf.constant(x.astype(dtype)) for x in inputs)))


def train(chain: Chain, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """Mean squared error, Adam, through keras.Model.fit."""
    keras.utils.set_random_seed(chain.model.seed)
    entry = keras.Input(shape=x.shape[1:], dtype="float32")
    model = keras.Model(entry, layers.Flatten()(chain(entry)))
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    model.fit(x.astype("float32"), y.astype("float32"), epochs=epochs, batch_size=batch, verbose=0)
