"""Draws weights in Loom's own layout, the same numbers for every planet.

`original` repeats the original bridge's draws (float32 normals times 0.02); `normal` draws
weights of realistic size: matrices with 1/sqrt(fan in), gains around 1, small shifts.

The core names a layer's roles and their shapes. A kind that a recipe draws in a way of its own has a file here, with
`original(rng, layer)` or `normal(rng, layer)`.
"""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..manifest import Layer, Model
from ..mistake import Mistake

Roles = dict[str, np.ndarray]
Weights = dict[str, Roles]


@functools.cache
def _kind(kind: str) -> Any:
    """The file of a kind; None for kinds that are drawn as most are."""
    name = f"{__name__}.{kind}"
    return import_module(name) if find_spec(name) else None


def draw(model: Model) -> Weights:
    """The weights that the model's recipe names; none for a trained model."""
    [(name, options)] = model.weights.items()
    if name == "normal":
        return _normal(model, (options or {}).get("gain", 1.0))
    if name == "original":
        return _original(model)
    raise Mistake(f"{model.id}: weights recipe {name!r} draws nothing")


def _normal(model: Model, gain: float) -> Weights:
    rng = np.random.default_rng(model.seed)
    table: Weights = {}
    for layer in model.walk():
        own = getattr(_kind(layer.kind), "normal", None)
        table[layer.path] = own(rng, layer) if own else {
            role: _normal_array(rng, role, shape, gain) for role, shape in layer.roles.items()}
    return table


def _normal_array(rng: np.random.Generator, role: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    n = rng.standard_normal(shape, dtype=np.float32)
    if role in ("gamma", "q_norm", "k_norm"):
        return (1.0 + 0.1 * n).astype(np.float32)
    if len(shape) == 1:
        return (0.1 * n).astype(np.float32)
    return np.asarray(n * (gain / np.sqrt(np.prod(shape[1:]))), np.float32)


def _original(model: Model) -> Weights:
    table: Weights = {layer.path: {} for layer in model.walk()}
    if model.bedrock == "mixer":
        _mixer(model, table)
    else:
        rng = np.random.default_rng(model.seed)
        for layer in model.walk():
            table[layer.path] = _original_layer(rng, layer)
    return table


def small(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The original's draw of any array."""
    return (rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)).astype(np.float32)


def _original_layer(rng: np.random.Generator, layer: Layer) -> Roles:
    own = getattr(_kind(layer.kind), "original", None)
    if own:
        return dict(own(rng, layer))
    found = {}
    for role, shape in layer.roles.items():
        if role.endswith("bias"):
            found[role] = np.zeros(shape, np.float32)
        else:
            found[role] = small(rng, shape) + (np.float32(1.0) if role == "gamma" else np.float32(0.0))
    return found


def _mixer(model: Model, table: Weights) -> None:
    """One generator in the original's order of layers; later kinds have generators of their own."""
    rng = np.random.default_rng(model.seed)
    for kind in ("dense", "cnn3", "cnn2", "cnn1", "mha"):
        for layer in model.walk():
            if layer.kind == kind:
                table[layer.path] = _original_layer(rng, layer)
    offsets = {"rnn": 1, "lstm": 2, "embedding": 10, "layernorm": 11, "rmsnorm": 12, "swiglu": 13}
    for layer in model.walk():
        if layer.kind in offsets:
            own = np.random.default_rng(model.seed + offsets[layer.kind])
            table[layer.path] = _original_layer(own, layer)
