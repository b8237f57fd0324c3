"""A model as a graph of neutral nodes: what the planet modules write and `mapping` reads.

A node says what one operation of the framework computes, on one sample; layers carry their arrays by
role in the planet's own layout. What cannot be mapped is a `Problem`, kept until all are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Sequence, Union

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]

ACTIVATIONS = ("linear", "relu", "silu", "gelu", "tanh", "sigmoid", "leaky_relu", "relu2")
EXACT_GELU = "this GELU is the exact one (erf); Loom's is the tanh form, which differs by up to 5e-4"


@dataclass(frozen=True)
class Problem:
    """A part of a model that cannot be mapped: where, what it is, why, what would work."""

    path: str
    cls: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path} ({self.cls}): {self.why}; {self.instead}"


class UnmappableModel(ValueError):
    """Names everything in a model that cannot be mapped; nothing was written."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = list(problems)
        count = len(self.problems)
        head = f"the model cannot be mapped, {count} problem{'s' if count != 1 else ''}:"
        super().__init__("\n  ".join([head, *map(str, self.problems)]))


@dataclass(frozen=True)
class Input:
    """The model's input."""


@dataclass(frozen=True)
class Layer:
    """A Loom layer over rows of the last axis (dense, norms, swiglu), over `[steps, features]`
    (lstm, rnn, mha) or over ids (embedding)."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, Array]


@dataclass(frozen=True)
class Conv:
    """A convolution; `padding` is (before, after) along each axis, `channels` 0 or -1."""

    filters: int
    kernel: int
    stride: int
    padding: tuple[tuple[int, int], ...]
    channels: int
    arrays: dict[str, Array]


@dataclass(frozen=True)
class Pad:
    """Zeros around the spatial axes; only a convolution can take them in."""

    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Activation:
    """An element-wise activation by Loom's name."""

    name: str


@dataclass(frozen=True)
class Scale:
    """Multiplication by a number."""

    factor: float


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis."""


@dataclass(frozen=True)
class View:
    """Moves elements without computing: `fn` acts on one sample's array. `flat` where the flat
    order stays (a reshape)."""

    fn: Callable[[Array], Array]
    flat: bool = False


@dataclass(frozen=True)
class Add:
    """The sum of two values of equal shape."""


@dataclass(frozen=True)
class Mul:
    """The product of two values; only the gate of a SwiGLU block can be mapped."""


@dataclass(frozen=True)
class Attend:
    """Scaled dot products of queries, keys and values `[heads, positions, features]`; mapped where
    dense layers of one tensor produce them and a dense layer joins the heads again."""

    causal: bool


@dataclass(frozen=True)
class Opaque:
    """What a planet module has already refused; the walk goes on behind it."""


Op = Union[Input, Layer, Conv, Pad, Activation, Scale, Softmax, View, Add, Mul, Attend, Opaque]


@dataclass(frozen=True)
class Node:
    """An operation of the framework: what it reads and the shape of one sample of its result."""

    op: Op
    inputs: tuple[int, ...]
    shape: Shape
    path: str
    cls: str


@dataclass
class Graph:
    """What a framework's forward computes. Nodes stand after what they read; node 0 is the input."""

    nodes: list[Node] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, shape: Sequence[int]) -> Graph:
        """A graph of the input alone, one sample of `shape`."""
        return cls([Node(Input(), (), tuple(shape), "input", "input")])

    def add(self, op: Op, inputs: Sequence[int], shape: Sequence[int], path: str, cls: str) -> int:
        """Appends a node and returns its number."""
        if isinstance(op, Activation) and op.name == "linear":
            return inputs[0]
        self.nodes.append(Node(op, tuple(inputs), tuple(int(n) for n in shape), path, cls))
        return len(self.nodes) - 1

    def refuse(
        self, inputs: Sequence[int], shape: Sequence[int], path: str, cls: str, why: str, instead: str
    ) -> int:
        """Notes a problem and appends a node so that what stands behind it is examined too."""
        self.problem(path, cls, why, instead)
        return self.add(Opaque(), inputs or (0,), shape, path, cls)

    def problem(self, path: str, cls: str, why: str, instead: str) -> None:
        """Notes a problem."""
        found = Problem(path or "(model)", cls, why, instead)
        if found not in self.problems:
            self.problems.append(found)

    def shape(self, node: int) -> Shape:
        """One sample's shape."""
        return self.nodes[node].shape


@dataclass(frozen=True)
class Layout:
    """What permuting a dense matrix needs to know of a planet: the axis of its inputs, and how it
    becomes the kernel of a convolution of extent 1."""

    planet: str
    in_axis: int

    def pointwise(self, weight: Array) -> Array:
        """A dense matrix as a kernel `[out, in, 1]` or `[1, in, out]`."""
        return weight[..., None] if self.in_axis == 1 else weight[None]


def dense(weight: Array, bias: Array | None, inputs: int, units: int) -> Layer:
    """A dense layer without activation."""
    config = {"input_dim": int(inputs), "output_dim": int(units), "bias": bias is not None}
    return Layer("dense", config, {"weight": weight} | ({} if bias is None else {"bias": bias}))


def norm(kind: str, dim: int, eps: float, gamma: Array | None, beta: Array | None = None) -> Layer:
    """A layer norm or RMS norm over `dim` elements; a missing gain is a row of ones."""
    arrays: dict[str, Array] = {"gamma": np.ones(dim, np.float32) if gamma is None else gamma.reshape(-1)}
    config: dict[str, Any] = {"dim": int(dim), "eps": float(eps)}
    if kind == "layernorm":
        config["beta"] = beta is not None
    if beta is not None:
        arrays["beta"] = beta.reshape(-1)
    return Layer(kind, config, arrays)


def attention(
    d_model: int,
    heads: int,
    head_dim: int,
    causal: bool,
    arrays: dict[str, Array],
    kv_heads: int | None = None,
) -> Layer:
    """Self-attention without rotary positions; biases all or none, missing ones are zero."""
    config: dict[str, Any] = {"d_model": d_model, "num_heads": heads, "causal": causal, "rope": False}
    if head_dim * heads != d_model:
        config["head_dim"] = head_dim
    if kv_heads is not None and kv_heads != heads:
        config["num_kv_heads"] = kv_heads
    widths = {
        "q": heads * head_dim,
        "k": (kv_heads or heads) * head_dim,
        "v": (kv_heads or heads) * head_dim,
        "o": d_model,
    }
    config["bias"] = any(f"{name}_bias" in arrays for name in widths)
    if config["bias"]:
        arrays = {f"{name}_bias": np.zeros(width, np.float32) for name, width in widths.items()} | arrays
    return Layer("mha", config, arrays)


def same_padding(extents: Sequence[int], kernel: int, stride: int) -> tuple[tuple[int, int], ...]:
    """The zeros (before, after) of each axis that give `ceil(extent / stride)` windows, the odd
    one after: the rule of TensorFlow, XLA and (for stride 1) PyTorch."""
    total = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in extents]
    return tuple((t // 2, t - t // 2) for t in total)
