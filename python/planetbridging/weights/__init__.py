"""Draws weights in Loom's own layout, the same numbers for every planet.

`original` repeats the original bridge's draws (float32 normals times 0.02); `normal` draws
weights of realistic size: matrices with 1/sqrt(fan in), gains around 1, small shifts.

One file for each kind that has weights: `roles(config)`, the shapes of its arrays by role; where a
recipe draws the kind in a way of its own, `original(rng, config)` or `normal(rng, config)`.
"""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Iterator

import numpy as np

from ..manifest import Mistake, Model, children, kind_of

Weights = dict[str, dict[str, np.ndarray]]


def roles(kind: str, c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The roles of a layer and the shapes of their arrays."""
    of_kind = _kind(kind)
    found: dict[str, tuple[int, ...]] = of_kind.roles(c) if of_kind else {}
    return found


def present(**shapes: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    """The roles that have a shape."""
    return {role: shape for role, shape in shapes.items() if shape is not None}


@functools.cache
def _kind(kind: str) -> Any:
    """The file of a kind; None for kinds without weights, which have none."""
    name = f"{__name__}.{kind}"
    return import_module(name) if find_spec(name) else None


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
    raise Mistake(f"{model.id}: weights recipe {name!r} draws nothing")


def _normal(model: Model, gain: float) -> Weights:
    rng = np.random.default_rng(model.seed)
    table: Weights = {}
    for path, kind, config in walk(model.layers):
        own = getattr(_kind(kind), "normal", None)
        table[path] = own(rng, config) if own else {
            role: _normal_array(rng, role, shape, gain) for role, shape in roles(kind, config).items()}
    return table


def _normal_array(rng: np.random.Generator, role: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    n = rng.standard_normal(shape, dtype=np.float32)
    if role in ("gamma", "q_norm", "k_norm"):
        return (1.0 + 0.1 * n).astype(np.float32)
    if len(shape) == 1:
        return (0.1 * n).astype(np.float32)
    return np.asarray(n * (gain / np.sqrt(np.prod(shape[1:]))), np.float32)


def _original(model: Model) -> Weights:
    table: Weights = {path: {} for path, _, _ in walk(model.layers)}
    if model.bedrock == "mixer":
        _mixer(model, table)
    else:
        rng = np.random.default_rng(model.seed)
        for path, kind, config in walk(model.layers):
            table[path] = _original_layer(rng, kind, config)
    return table


def small(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The original's draw of any array."""
    return (rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)).astype(np.float32)


def _original_layer(rng: np.random.Generator, kind: str, c: dict[str, Any]) -> dict[str, np.ndarray]:
    own = getattr(_kind(kind), "original", None)
    if own:
        return dict(own(rng, c))
    found = {}
    for role, shape in roles(kind, c).items():
        if role.endswith("bias"):
            found[role] = np.zeros(shape, np.float32)
        else:
            found[role] = small(rng, shape) + (np.float32(1.0) if role == "gamma" else np.float32(0.0))
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
