"""What all planets share: walking a manifest's layers over a planet's operators.

A planet provides `Operators` and a constructor for each kind of layer, in `kinds/<kind>.py`:
its stock operators, wrapped so that each registers the arrays it owns in `slots`. The chain only
reshapes (flat order, as Loom reads tensors) and routes skips; it does no arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Callable, Protocol

import numpy as np

from ..manifest import Layer, Model
from ..mistake import Mistake
from ..weights import Roles, Weights

@dataclass(frozen=True)
class Slot:
    """An array of a live model: how to read it, write it, and make it from Loom's layout."""

    get: Callable[[], np.ndarray]
    set: Callable[[np.ndarray], None]
    convert: Callable[[Roles], np.ndarray]

class Operators(Protocol):
    """What a planet's constructors share. Tensors are the planet's own."""

    channels_last: bool
    slots: dict[str, Slot]

    def reshape(self, x, shape: tuple[int, ...]): ...
    def transpose(self, x, axes: tuple[int, ...]): ...
    def add(self, a, b): ...
    def multiply(self, a, b): ...
    def concat(self, parts: list, axis: int): ...

def first(ops: Operators, x):
    """Channels first, of what has them where the planet has them."""
    axes = len(x.shape)
    return ops.transpose(x, (0, axes - 1, *range(1, axes - 1))) if ops.channels_last and axes > 2 else x

def last(ops: Operators, x):
    """The way back."""
    axes = len(x.shape)
    return ops.transpose(x, (0, *range(2, axes), 1)) if ops.channels_last and axes > 2 else x

def constructor(ops: Operators, path: str, kind: str) -> Callable[[Any, str, dict[str, Any]], Callable[[Any], Any]]:
    """What makes layers of a kind: `build` of the file of that name beside the operators."""
    name = f"{type(ops).__module__}.kinds.{kind}"
    if find_spec(name) is None:
        raise Mistake(f"{path}: {name.split('.')[-3]} has no constructor for {kind}")
    return import_module(name).build

class Chain:
    """A model of a manifest, built of a planet's operators."""

    def __init__(self, ops: Operators, model: Model):
        self.ops, self.model = ops, model
        self.steps = [self._build(layer) for layer in model.chain]

    def _build(self, layer: Layer):
        kind, config = layer.kind, layer.config
        if kind in ("sequential", "parallel"):
            return kind, config, [self._build(child) for child in layer.children]
        if kind == "residual":
            return kind, config, None
        return kind, config, constructor(self.ops, layer.path, kind)(self.ops, layer.path, config)

    def __call__(self, *inputs):
        """The forward on the planet's tensors, channels first where there are channels.
        A convolution at the end leaves the planet's own channel order."""
        x, in_last = inputs[0], False
        for i, step in enumerate(self.steps):
            if i in self.model.reads:
                x, in_last = inputs[self.model.reads[i]], False
            skip = inputs[self.model.skips[i]] if i in self.model.skips else None
            x, in_last = self._run(step, x, in_last, skip)
        return x

    def _run(self, step, x, in_last: bool, skip):
        kind, config, body = step
        if kind.startswith(("cnn", "convtransposed")):
            if not in_last:
                x = last(self.ops, self.ops.reshape(x, (-1, config["in_channels"], *config["input"])))
            return body(x), self.ops.channels_last
        if in_last:
            x = first(self.ops, x)
        if kind == "sequential":
            current, before, in_last = x, None, False
            for inner in body:
                y, in_last = self._run(inner, current, in_last, before)
                before, current = current, y
            return current, in_last
        if kind == "parallel":
            outs = (self._run(inner, x, False, None) for inner in body)
            return self._combined(config, [first(self.ops, y) if in_last else y for y, in_last in outs]), False
        if kind == "residual":
            return (x if skip is None else self.ops.add(x, skip)), False
        return body(self._view(x, kind, config)), False

    def _combined(self, c: dict[str, Any], parts: list):
        """Branches as one: their product, their sum, or side by side along an axis."""
        if c["combine"] == "concat" and c.get("axis") is not None:
            return self.ops.concat(parts, c["axis"])
        join = {"product": self.ops.multiply, "add": self.ops.add}.get(c["combine"])
        if join is None:
            raise Mistake(f"no planet combines branches by {c['combine']} without an axis")
        return reduce(join, parts)

    def _view(self, x, kind: str, c: dict[str, Any]):
        """`x` as rows, sequences or ids of what the layer reads, in flat order."""
        width = {"dense": "input_dim", "swiglu": "input_dim", "layernorm": "dim", "rmsnorm": "dim", "l2norm": "dim"}.get(kind)
        if width and x.shape[-1] != c[width]:
            return self.ops.reshape(x, (-1, c[width]))
        if kind in ("lstm", "rnn", "gru"):
            return self.ops.reshape(x, (-1, c["seq_length"], c["input_size"]))
        if kind == "mha" and "seq_length" in c:
            return self.ops.reshape(x, (-1, c["seq_length"], c["d_model"]))
        return x

    def assign(self, weights: Weights) -> None:
        """Loads weights given in Loom's layout, converting each to the planet's."""
        for name, slot in self.ops.slots.items():
            slot.set(slot.convert(weights[path_of(name)]))

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Loads arrays in the planet's own layout."""
        for name, slot in self.ops.slots.items():
            slot.set(arrays[name])

    def arrays(self) -> dict[str, np.ndarray]:
        """The live arrays by `path.role`, in the planet's own layout."""
        return {name: np.asarray(slot.get()) for name, slot in sorted(self.ops.slots.items())}

def path_of(name: str) -> str:
    """The layer path of an array name: `layers.0.input_weight.i` belongs to `layers.0`."""
    parts = name.split(".")
    while parts and not parts[-1].isdigit():
        parts.pop()
    return ".".join(parts)
