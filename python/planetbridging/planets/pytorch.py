"""PyTorch. Matrices are [out, in], convolutions channels first, recurrent biases split in two."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..manifest import Model
from .chain import Chain, Slot
from .naming import pytorch as naming

torch.set_num_threads(1)
# As use_deterministic_algorithms(True), which would import a compiler that cannot live beside TensorFlow.
torch.set_deterministic_debug_mode("error")

PACKAGES = ("torch", "numpy", "scikit-learn")
FLAGS = {"threads": "1", "deterministic_algorithms": "true"}

ACTIVATIONS: dict[str, Callable] = {
    "linear": lambda x: x,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
}


class Embedding(nn.Module):
    """nn.Embedding with Loom's rule for unknown ids, a row of zeros, where stock raises."""

    def __init__(self, vocab: int, dim: int, dtype):
        super().__init__()
        self.table = nn.Embedding(vocab, dim, dtype=dtype)

    def forward(self, x):
        ids = x.to(torch.int64)
        known = (ids >= 0) & (ids < self.table.num_embeddings)
        rows = self.table(torch.where(known, ids, 0))
        return torch.where(known[..., None], rows, torch.zeros((), dtype=rows.dtype))


class Attention(nn.Module):
    """Four nn.Linear around scaled_dot_product_attention, with rotary positions (half-split)."""

    def __init__(self, c: dict[str, Any], dtype):
        super().__init__()
        d, self.heads = c["d_model"], c["num_heads"]
        self.e = c.get("head_dim", d // self.heads)
        self.kv = c.get("num_kv_heads", self.heads)
        self.causal, self.rope, self.base = c.get("causal", True), c.get("rope", True), c.get("rope_base", 10000.0)
        bias, q, kv = c.get("bias", True), self.heads * self.e, self.kv * self.e
        self.q, self.k, self.v, self.o = (
            nn.Linear(i, o, bias=bias, dtype=dtype) for i, o in ((d, q), (d, kv), (d, kv), (q, d))
        )
        self.norms = None
        if c.get("qk_norm", "none") == "shared":
            self.norms = nn.ModuleList([nn.RMSNorm(self.e, eps=c.get("eps", 1e-6), dtype=dtype) for _ in "qk"])

    def rotate(self, x):
        half = self.e // 2
        exponent = torch.arange(half, dtype=x.dtype) * 2.0 / self.e
        angle = torch.outer(torch.arange(x.shape[-2], dtype=x.dtype), 1.0 / self.base**exponent)
        cos, sin = angle.cos(), angle.sin()
        a, b = x[..., :half], x[..., half : 2 * half]
        return torch.cat([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], dim=-1)

    def forward(self, x):
        batch, seq, _ = x.shape
        def heads(y, n):
            return y.view(batch, seq, n, self.e).transpose(1, 2)
        q, k, v = heads(self.q(x), self.heads), heads(self.k(x), self.kv), heads(self.v(x), self.kv)
        if self.norms is not None:
            q, k = self.norms[0](q), self.norms[1](k)
        if self.rope:
            q, k = self.rotate(q), self.rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=self.kv != self.heads)
        return self.o(y.transpose(1, 2).reshape(batch, seq, -1))


class SwiGlu(nn.Module):
    def __init__(self, i: int, m: int, bias: bool, dtype):
        super().__init__()
        self.gate, self.up = (nn.Linear(i, m, bias=bias, dtype=dtype) for _ in "gu")
        self.down = nn.Linear(m, i, bias=bias, dtype=dtype)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Operators:
    channels_last = False

    def __init__(self, dtype: str):
        self.dtype = getattr(torch, dtype)
        self.slots: dict[str, Slot] = {}
        self.modules = nn.ModuleList()

    def reshape(self, x, shape):
        return x.reshape(shape)

    def transpose(self, x, axes):
        return x.permute(axes)

    def add(self, a, b):
        return torch.add(a, b)

    def slot(self, name: str, parameter: nn.Parameter, convert) -> None:
        def put(value: np.ndarray) -> None:
            if tuple(value.shape) != tuple(parameter.shape):
                raise ValueError(f"{name}: {value.shape} does not fit {tuple(parameter.shape)}")
            with torch.no_grad():
                parameter.copy_(torch.as_tensor(np.asarray(value), dtype=parameter.dtype))
        self.slots[name] = Slot(lambda: parameter.detach().numpy().copy(), put, convert)

    def plain(self, named: naming.Named) -> None:
        """Arrays whose layout is Loom's own."""
        for name, parameter in named:
            self.slot(name, parameter, lambda w, role=name.rsplit(".", 1)[1]: w[role])

    def layer(self, path: str, kind: str, c: dict[str, Any]):
        module, activation = self.build(path, kind, c), ACTIVATIONS[c.get("activation", "linear")]
        self.modules.append(module)
        if kind in ("lstm", "rnn"):
            return lambda x: module(x)[0]
        return lambda x: activation(module(x))

    def build(self, path: str, kind: str, c: dict[str, Any]) -> nn.Module:
        dtype = self.dtype
        if kind == "dense":
            module = nn.Linear(c["input_dim"], c["output_dim"], bias=c.get("bias", True), dtype=dtype)
            self.plain(naming.linear(path, module))
        elif kind.startswith("cnn"):
            conv = {"cnn1": nn.Conv1d, "cnn2": nn.Conv2d, "cnn3": nn.Conv3d}[kind]
            module = conv(c["in_channels"], c["filters"], c["kernel_size"], stride=c.get("stride", 1),
                          padding=c.get("padding", 0), bias=c.get("bias", False), dtype=dtype)
            self.plain(naming.linear(path, module))
        elif kind == "mha":
            module = Attention(c, dtype)
            self.plain(naming.linears(path, {"q": module.q, "k": module.k, "v": module.v, "o": module.o}))
            self.plain((f"{path}.{name}_norm", norm.weight) for name, norm in zip("qk", module.norms or []))
        elif kind in ("lstm", "rnn"):
            module = {"lstm": nn.LSTM, "rnn": nn.RNN}[kind](
                c["input_size"], c["hidden_size"], batch_first=True, bias=c.get("bias", True), dtype=dtype)
            # Two biases that only their sum determines: an uneven split shows a dropped one.
            split = {
                "input_bias": lambda w: w["bias"] * np.float32(0.75),
                "recurrent_bias": lambda w: w["bias"] - w["bias"] * np.float32(0.75),
            }
            for name, parameter in naming.recurrent(path, module):
                role = name.rsplit(".", 1)[1]
                self.slot(name, parameter, split.get(role, lambda w, role=role: w[role]))
        elif kind == "layernorm":
            module = nn.LayerNorm(c["dim"], eps=c.get("eps", 1e-5), bias=c.get("beta", True), dtype=dtype)
            self.plain(naming.norm(path, module))
        elif kind == "rmsnorm":
            module = nn.RMSNorm(c["dim"], eps=c.get("eps", 1e-6), dtype=dtype)
            self.plain(naming.norm(path, module))
        elif kind == "embedding":
            module = Embedding(c["vocab_size"], c["embedding_dim"], dtype)
            self.plain(naming.embedding(path, module.table))
        elif kind == "swiglu":
            module = SwiGlu(c["input_dim"], c["intermediate_dim"], c.get("bias", True), dtype)
            self.plain(naming.linears(path, {"gate": module.gate, "up": module.up, "down": module.down}))
        else:
            raise ValueError(f"{path}: PyTorch has no handler for {kind}")
        return module


def build(model: Model, dtype: str) -> Chain:
    torch.manual_seed(model.seed)
    return Chain(Operators(dtype), model)


def forward(chain: Chain, inputs: list[np.ndarray], dtype: str) -> np.ndarray:
    with torch.no_grad():
        return chain(*(torch.as_tensor(x.astype(dtype)) for x in inputs)).numpy()


def train(chain: Chain, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """Mean squared error, Adam."""
    torch.manual_seed(chain.model.seed)
    xs, ys = torch.as_tensor(x.astype("float32")), torch.as_tensor(y.astype("float32"))
    optimizer = torch.optim.Adam(chain.ops.modules.parameters(), lr=rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(xs)).split(batch):
            optimizer.zero_grad()
            F.mse_loss(chain(xs[rows]).flatten(1), ys[rows]).backward()
            optimizer.step()
