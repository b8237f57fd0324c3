"""A NumPy forward of every layer, in float64: what smoke tests hold Loom against where no planet is
installed. Weights are in Loom's own layout. Sources: `stream.md` section 5, and the papers that it names.

Operators are written from the definitions, with none of Loom's intermediate roundings."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .manifest import Layer, Model
from .weights import Weights, draw

Array = NDArray[np.float64]
Roles = dict[str, Array]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
}


def dense(x: Array, c: dict[str, Any], w: Roles) -> Array:
    y = x.reshape(-1, c["input_dim"]) @ w["weight"].T + w.get("bias", 0.0)
    return ACTIVATIONS[c["activation"]](y)


def conv(x: Array, c: dict[str, Any], w: Roles) -> Array:
    """Cross-correlation over `input`: `[batch, channels, …]` to `[batch, filters, …]`."""
    axes, k = len(c["input"]), c["kernel_size"]
    x = x.reshape(-1, c["in_channels"], *c["input"])
    pad = c["padding"]
    x = np.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * axes])
    windows = np.lib.stride_tricks.sliding_window_view(x, (k,) * axes, axis=tuple(range(2, axes + 2)))
    windows = windows[(slice(None), slice(None), *[slice(None, None, c["stride"])] * axes)]
    kernel = w["weight"].reshape(c["filters"], c["in_channels"], *(k,) * axes)
    inner = range(2 + axes, 2 + 2 * axes)
    y = np.tensordot(windows, kernel, axes=([1, *inner], [1, *range(2, 2 + axes)]))
    y = np.moveaxis(y, -1, 1)
    if "bias" in w:
        y = y + w["bias"].reshape(-1, *(1,) * axes)
    return np.asarray(ACTIVATIONS[c["activation"]](y))


def _rms(x: Array, eps: float) -> Array:
    return np.asarray(x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps))


def _rotate(x: Array, base: float) -> Array:
    """Rotary positions, half-split: `[batch, seq, heads, e]`."""
    e, half = x.shape[-1], x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] / base ** (2.0 * np.arange(half) / e)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half : 2 * half]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], axis=-1)


def mha(x: Array, c: dict[str, Any], w: Roles) -> Array:
    d, heads = c["d_model"], c["num_heads"]
    e, kv = c["head_dim"], c["num_kv_heads"]
    x = x.reshape(len(x), -1, d)
    q, k, v = (
        (x @ w[f"{r}_weight"].T + w.get(f"{r}_bias", 0.0)).reshape(*x.shape[:2], n, e)
        for r, n in (("q", heads), ("k", kv), ("v", kv)))
    if "q_norm" in w:
        q, k = (_rms(t, c["eps"]) * w[f"{r}_norm"] for t, r in ((q, "q"), (k, "k")))
    if c["rope"]:
        q, k = (_rotate(t, c["rope_base"]) for t in (q, k))
    k, v = (np.repeat(t, heads // kv, axis=2) for t in (k, v))
    scores = np.einsum("bshe,bthe->bhst", q, k) / np.sqrt(e)
    past = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])[None, :]
    hidden = (past < 0) if c["causal"] else np.zeros_like(past, bool)
    if "window" in c:
        hidden = hidden | (past >= c["window"])
    scores = np.where(hidden, -np.inf, scores)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    y = np.einsum("bhst,bthe->bshe", scores / scores.sum(axis=-1, keepdims=True), v)
    return np.asarray(y.reshape(*x.shape[:2], -1) @ w["o_weight"].T + w.get("o_bias", 0.0))


def recurrent(x: Array, c: dict[str, Any], w: Roles, kind: str) -> Array:
    """LSTM with the gates i, f, g, o, or an Elman layer; zero start, every step's state."""
    x = x.reshape(-1, c["seq_length"], c["input_size"])
    h = cell = np.zeros((len(x), c["hidden_size"]))
    steps = []
    for t in range(x.shape[1]):
        z = x[:, t] @ w["input_weight"].T + h @ w["recurrent_weight"].T + w.get("bias", 0.0)
        if kind == "rnn":
            h = np.tanh(z)
        else:
            i, f, g, o = np.split(z, 4, axis=1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(cell)
        steps.append(h)
    return np.stack(steps, axis=1)


def norm(x: Array, c: dict[str, Any], w: Roles, kind: str) -> Array:
    x = x.reshape(-1, c["dim"]) if x.shape[-1] != c["dim"] else x
    if kind == "rmsnorm":
        return np.asarray(_rms(x, c["eps"]) * w["gamma"])
    centred = x - x.mean(axis=-1, keepdims=True)
    y = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + c["eps"])
    return np.asarray(y * w["gamma"] + w.get("beta", 0.0))


def embedding(x: Array, c: dict[str, Any], w: Roles) -> Array:
    """Rows of the table; unknown ids give zeros."""
    ids = np.trunc(x).astype(np.int64)
    known = (ids >= 0) & (ids < c["vocab_size"])
    found = w["weight"][np.where(known, ids, 0)]
    return np.asarray(np.where(known[..., None], found, 0.0))


def swiglu(x: Array, c: dict[str, Any], w: Roles) -> Array:
    x = x.reshape(-1, c["input_dim"]) if x.shape[-1] != c["input_dim"] else x
    gate = x @ w["gate_weight"].T + w.get("gate_bias", 0.0)
    up = x @ w["up_weight"].T + w.get("up_bias", 0.0)
    return np.asarray((gate * sigmoid(gate) * up) @ w["down_weight"].T + w.get("down_bias", 0.0))


def run(layer: Layer, x: Array, skip: Array | None, table: Weights) -> Array:
    """One layer on `x`; a residual layer adds `skip`."""
    kind, c = layer.kind, layer.config
    w = {role: value.astype(np.float64) for role, value in table.get(layer.path, {}).items()}
    if kind == "sequential":
        before: Array | None = None
        for inner in layer.children:
            x, before = run(inner, x, before, table), x
        return x
    if kind == "residual":
        return x if skip is None else x + skip.reshape(x.shape)
    if kind.startswith("cnn"):
        return conv(x, c, w)
    if kind in ("lstm", "rnn"):
        return recurrent(x, c, w, kind)
    if kind in ("layernorm", "rmsnorm"):
        return norm(x, c, w, kind)
    simple = {"dense": dense, "mha": mha, "embedding": embedding, "swiglu": swiglu}.get(kind)
    if simple is None:
        raise ValueError(f"{layer.path}: no reference for {kind}")
    if kind == "mha" and "seq_length" in c:
        x = x.reshape(-1, c["seq_length"], c["d_model"])
    return simple(x, c, w)


def forward(model: Model, table: Weights, inputs: Sequence[NDArray[Any]]) -> Array:
    """The model's output for inputs that are rounded to float32 first, as Loom's are."""
    fed = [np.asarray(x, np.float32).astype(np.float64) for x in inputs]
    x = fed[0]
    for i, layer in enumerate(model.chain):
        if i in model.reads:
            x = fed[model.reads[i]]
        x = run(layer, x, fed[model.skips[i]] if i in model.skips else None, table)
    return x


def weights(model: Model) -> Weights:
    """The model's own weights; of a model that a planet trains, normal numbers of ordinary size."""
    if "trained" in model.weights:
        from dataclasses import replace

        return draw(replace(model, weights={"normal": {}}))
    return draw(model)
