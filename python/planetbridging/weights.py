"""Draws weights in Loom's own layout, the same numbers for every planet.

`original` repeats the original bridge's draws (float32 normals times 0.02); `normal` draws
weights of realistic size: matrices with 1/sqrt(fan in), gains around 1, small shifts.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from .manifest import Model, children, kind_of

Weights = dict[str, dict[str, np.ndarray]]


def roles(kind: str, c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The roles of a layer and the shapes of their arrays."""
    if kind == "dense":
        i, o = c["input_dim"], c["output_dim"]
        return _some(weight=(o, i), bias=(o,) if c.get("bias", True) else None)
    if kind.startswith("cnn"):
        f = c["filters"]
        shape = (f, c["in_channels"], *(c["kernel_size"],) * int(kind[3:]))
        return _some(weight=shape, bias=(f,) if c.get("bias", False) else None)
    found: dict[str, tuple[int, ...]]
    if kind == "mha":
        d, heads = c["d_model"], c["num_heads"]
        e = c.get("head_dim", d // heads)
        q, kv = heads * e, c.get("num_kv_heads", heads) * e
        found = {"q_weight": (q, d), "k_weight": (kv, d), "v_weight": (kv, d), "o_weight": (d, q)}
        if c.get("bias", True):
            found |= {"q_bias": (q,), "k_bias": (kv,), "v_bias": (kv,), "o_bias": (d,)}
        if c.get("qk_norm", "none") == "shared":
            found |= {"q_norm": (e,), "k_norm": (e,)}
        return found
    if kind in ("lstm", "rnn"):
        i, h = c["input_size"], c["hidden_size"]
        n = 4 * h if kind == "lstm" else h
        found = {"input_weight": (n, i), "recurrent_weight": (n, h)}
        return found | _some(bias=(n,) if c.get("bias", True) else None)
    if kind == "layernorm":
        return _some(gamma=(c["dim"],), beta=(c["dim"],) if c.get("beta", True) else None)
    if kind == "rmsnorm":
        return {"gamma": (c["dim"],)}
    if kind == "embedding":
        return {"weight": (c["vocab_size"], c["embedding_dim"])}
    if kind == "swiglu":
        i, m = c["input_dim"], c["intermediate_dim"]
        found = {"gate_weight": (m, i), "up_weight": (m, i), "down_weight": (i, m)}
        if c.get("bias", True):
            found |= {"gate_bias": (m,), "up_bias": (m,), "down_bias": (i,)}
        return found
    return {}


def _some(**shapes: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    return {role: shape for role, shape in shapes.items() if shape is not None}


def walk(layers: tuple[dict[str, Any], ...]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every layer with its path, containers before what they hold."""
    def visit(path: str, layer: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        kind, config = kind_of(layer)
        yield path, kind, config
        for name, child in children(kind, config):
            yield from visit(f"{path}.{name}", child)
    for index, layer in enumerate(layers):
        yield from visit(f"layers.{index}", layer)


def draw(model: Model) -> Weights:
    """The weights that the model's recipe names; none for a trained model."""
    [(name, options)] = model.weights.items()
    if name == "normal":
        return _normal(model, (options or {}).get("gain", 1.0))
    if name == "original":
        return _original(model)
    raise ValueError(f"{model.id}: weights recipe {name!r} draws nothing")


def _normal(model: Model, gain: float) -> Weights:
    rng = np.random.default_rng(model.seed)
    table: Weights = {}
    for path, kind, config in walk(model.layers):
        table[path] = {}
        for role, shape in roles(kind, config).items():
            n = rng.standard_normal(shape, dtype=np.float32)
            if role in ("gamma", "q_norm", "k_norm"):
                value = 1.0 + 0.1 * n
            elif len(shape) == 1:
                value = 0.1 * n
            elif kind == "embedding":
                value = n
            else:
                value = n * (gain / np.sqrt(np.prod(shape[1:])))
            table[path][role] = value.astype(np.float32)
    return table


def _original(model: Model) -> Weights:
    table: Weights = {path: {} for path, _, _ in walk(model.layers)}
    if model.bedrock == "mixer":
        _mixer(model, table)
    else:
        rng = np.random.default_rng(model.seed)
        for path, kind, config in walk(model.layers):
            table[path] = _original_layer(rng, kind, config)
    return table


def _small(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)).astype(np.float32)


def _original_layer(rng: np.random.Generator, kind: str, c: dict[str, Any]) -> dict[str, np.ndarray]:
    shapes = roles(kind, c)
    if kind in ("lstm", "rnn"):
        gates, h = (4 if kind == "lstm" else 1), c["hidden_size"]
        parts = [(_small(rng, (h, c["input_size"])), _small(rng, (h, h))) for _ in range(gates)]
        return {
            "input_weight": np.concatenate([p[0] for p in parts]),
            "recurrent_weight": np.concatenate([p[1] for p in parts]),
            "bias": np.zeros(gates * h, np.float32),
        }
    found = {}
    for role, shape in shapes.items():
        if role.endswith("bias") and kind != "swiglu":
            found[role] = np.zeros(shape, np.float32)
        else:
            found[role] = _small(rng, shape) + (np.float32(1.0) if role == "gamma" else np.float32(0.0))
    return found


def _mixer(model: Model, table: Weights) -> None:
    """One generator in the original's order of layers; later kinds have generators of their own."""
    layers = list(walk(model.layers))

    def of_kind(kind: str) -> list[tuple[str, dict[str, Any]]]:
        return [(p, c) for p, k, c in layers if k == kind]

    rng = np.random.default_rng(model.seed)
    for kind in ("dense", "cnn3", "cnn2", "cnn1", "mha"):
        for path, config in of_kind(kind):
            table[path] = _original_layer(rng, kind, config)
    offsets = {"rnn": 1, "lstm": 2, "embedding": 10, "layernorm": 11, "rmsnorm": 12, "swiglu": 13}
    for kind, offset in offsets.items():
        for path, config in of_kind(kind):
            table[path] = _original_layer(np.random.default_rng(model.seed + offset), kind, config)
