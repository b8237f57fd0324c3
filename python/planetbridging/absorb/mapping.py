"""A graph of neutral nodes becomes a chain of Loom layers.

A planet module records what its framework computes as a `Graph`; `lower` turns the graph into a
chain of Loom layers with arrays by role, in the planet's own layout. Loom keeps a sample as a flat
run of numbers and its layers read it by their own sizes, so reshapes cost nothing; what has to be
tracked is where each element of the framework's tensor stands in Loom's sample (`Value.order`).
Where the two differ, the difference is a property of the model (a channels-last picture flattened
into a dense layer, the last step of a sequence) and is put into the next dense layer's rows.
Whatever cannot be expressed exactly is a `Problem`; `lower` collects all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Union

import numpy as np

from .graph import (
    Activation,
    Add,
    Array,
    Attend,
    Conv,
    Graph,
    Layer,
    Layout,
    Mul,
    Node,
    Pad,
    Problem,
    Scale,
    Shape,
    Softmax,
    UnmappableModel,
    View,
    attention,
)


@dataclass
class Plain:
    """A Loom layer without layers inside."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass
class Residual:
    """`x + f(x)`."""

    steps: list[Step]


@dataclass
class Branches:
    """`f(x) + g(x)`."""

    branches: list[list[Step]]


Step = Union[Plain, Residual, Branches]


@dataclass
class Mapped:
    """A model in Loom's layers, ready for loom-stream."""

    planet: str
    layers: list[dict[str, Any]]
    arrays: dict[str, Array]
    input_shape: Shape
    output_shape: Shape
    feed: Array | None = None
    order: Array | None = None
    notes: tuple[str, ...] = ()

    def fed(self, rows: Array) -> Array:
        """Inputs `[batch, *input_shape]` as Loom reads them: channels first where they are not."""
        rows = np.asarray(rows, dtype=np.float32)
        if self.feed is None:
            return np.ascontiguousarray(rows)
        return scatter(rows, self.feed)

    def as_loom(self, outputs: Array) -> Array:
        """The framework's outputs `[batch, …]` as rows in the order of Loom's outputs."""
        flat: Array = np.asarray(outputs).reshape(len(outputs), -1)
        if flat.shape[1] != prod(self.output_shape):
            raise ValueError(
                f"outputs have {flat.shape[1]} numbers for each sample; the model gives {self.output_shape}"
            )
        return flat if self.order is None else scatter(flat, self.order)


def scatter(rows: Array, order: Array) -> Array:
    """`[batch, n]` where element i of each sample goes to position `order.flat[i]`."""
    flat = rows.reshape(len(rows), -1)
    moved = np.empty_like(flat)
    moved[:, order.reshape(-1)] = flat
    return np.ascontiguousarray(moved)


@dataclass
class Value:
    """A tensor on its way: `order` says where each element of the framework's sample stands in
    Loom's sample of `size` numbers (None: in flat order). `loom` is Loom's shape, its first
    extent times the batch; None where it is not known. `fed`: still as the input was fed."""

    shape: Shape
    size: int
    loom: Shape | None
    order: Array | None = None
    fed: bool = False

    def positions(self) -> Array:
        """The order, spelled out."""
        if self.order is not None:
            return self.order
        return np.arange(self.size).reshape(self.shape)


class _Feed(Exception):
    """The input has to be fed in another order."""

    def __init__(self, order: Array):
        super().__init__()
        self.order = order


def lower(graph: Graph, output: int, layout: Layout) -> Mapped:
    """The graph up to node `output` as Loom's layers.

    Raises UnmappableModel with all problems, those of the graph first.
    """
    _gated(graph)
    _attended(graph, layout)
    lowering = _Lowering(graph, layout, None)
    try:
        steps, value = lowering.run(output)
    except _Feed as feed:
        lowering = _Lowering(graph, layout, feed.order)
        lowering.note("the input is fed channels first, as Loom reads it")
        steps, value = lowering.run(output)
    if not steps and not lowering.problems:
        lowering.problem(
            graph.nodes[output], "the model has no layer", "absorb a model that computes something"
        )
    if value.order is not None and not len(np.unique(value.order)) == value.size == value.order.size:
        lowering.problem(
            graph.nodes[output],
            "the model ends in a part of a tensor (a step of a sequence)",
            "return the whole tensor, or end in a dense layer",
        )
    if lowering.problems:
        raise UnmappableModel(lowering.problems)
    layers, arrays = [], {}
    wanted = graph.shape(output)
    # One row for each sample, as flattening leaves it: what a concatenation of one branch gives.
    flat = value.loom is not None and value.loom[0] == 1 and len(wanted) == 1 and value.loom[1:] != wanted
    for i, step in enumerate(steps):
        path = f"layers.{i}"
        if flat and i + 1 == len(steps):
            layer, found = _spell(step, f"{path}.parallel_branches.0")
            layer = {"parallel": {"branches": [{"layer": layer}], "combine": "concat"}}
        else:
            layer, found = _spell(step, path)
        layers.append(layer)
        arrays.update(found)
    if value.order is not None:
        lowering.note("outputs are compared channels first, as Loom writes them")
    if value.loom is not None and value.loom != (1, *wanted) and not flat:
        own, native = (f"[{lead}batch{''.join(f', {n}' for n in rest)}]" for lead, rest in (
            (f"{value.loom[0]} × " if value.loom[0] != 1 else "", value.loom[1:]), ("", wanted)))
        lowering.note(f"run by itself, the file gives outputs {own} where the model gives {native}: the same numbers "
                      "in the same order; reshape them")
    return Mapped(
        layout.planet,
        layers,
        arrays,
        graph.shape(0),
        graph.shape(output),
        lowering.feed,
        value.order,
        tuple(lowering.notes),
    )


def _spell(step: Step, path: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """A step as JSON and its arrays by full name."""
    if isinstance(step, Plain):
        arrays = {f"{path}.{role}": np.ascontiguousarray(a) for role, a in step.arrays.items()}
        return {step.kind: step.config}, arrays
    if isinstance(step, Residual):
        inner, arrays = _group(step.steps, f"{path}.sequential_layers.0")
        return {"sequential": {"steps": [{"layer": inner}, {"layer": {"residual": {}}}]}}, arrays
    spelled, arrays = [], {}
    for i, branch in enumerate(step.branches):
        layer, found = _group(branch, f"{path}.parallel_branches.{i}")
        spelled.append({"layer": layer})
        arrays.update(found)
    return {"parallel": {"branches": spelled, "combine": "add"}}, arrays


def _group(steps: list[Step], path: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Several steps as one layer."""
    if len(steps) == 1:
        return _spell(steps[0], path)
    spelled, arrays = [], {}
    for i, step in enumerate(steps):
        layer, found = _spell(step, f"{path}.sequential_layers.{i}")
        spelled.append({"layer": layer})
        arrays.update(found)
    return {"sequential": {"steps": spelled}}, arrays


def _gated(graph: Graph) -> None:
    """Joins down(silu(gate(x)) * up(x)) into one swiglu node."""

    def dense(node: Node) -> Layer | None:
        return node.op if isinstance(node.op, Layer) and node.op.kind == "dense" else None

    def split(product: Node) -> tuple[Node, Node] | None:
        for first, second in (product.inputs, product.inputs[::-1]):
            silu, up = graph.nodes[first], graph.nodes[second]
            if isinstance(silu.op, Activation) and silu.op.name == "silu" and dense(up):
                gate = graph.nodes[silu.inputs[0]]
                if dense(gate) and gate.inputs == up.inputs:
                    return gate, up
        return None

    for i, node in enumerate(graph.nodes):
        down = dense(node)
        product = graph.nodes[node.inputs[0]] if node.inputs else node
        found = split(product) if down and isinstance(product.op, Mul) else None
        if not down or not found:
            continue
        parts = {"gate": dense(found[0]), "up": dense(found[1]), "down": down}
        wide = down.config["input_dim"]
        width = down.config["output_dim"]
        if any(part and part.config["input_dim"] != width for name, part in parts.items() if name != "down"):
            continue
        biased = any(part and "bias" in part.arrays for part in parts.values())
        arrays = {}
        for name, part in parts.items():
            assert part is not None
            arrays[f"{name}_weight"] = part.arrays["weight"]
            if biased:
                zeros = np.zeros(part.config["output_dim"], np.float32)
                arrays[f"{name}_bias"] = part.arrays.get("bias", zeros)
        config = {"input_dim": width, "intermediate_dim": wide, "bias": biased}
        graph.nodes[i] = Node(
            Layer("swiglu", config, arrays), found[0].inputs, node.shape, node.path, node.cls
        )


def _viewed(graph: Graph, node: int) -> tuple[int, list[View]]:
    """The value that a chain of views starts from, and the views in order."""
    views: list[View] = []
    while isinstance(op := graph.nodes[node].op, View):
        views.append(op)
        node = graph.nodes[node].inputs[0]
    return node, views[::-1]


def _moved(shape: Shape, views: list[View]) -> Array:
    """Where each element after the views stands in the flat value before them."""
    order: Array = np.arange(prod(shape)).reshape(shape)
    for view in views:
        order = view.fn(order)
    return order


def _attended(graph: Graph, layout: Layout) -> None:
    """Joins o(heads(attend(q(x), k(x), v(x)))) into one mha node; q, k and v may be rows of one
    dense layer."""
    for i, node in enumerate(graph.nodes):
        if not isinstance(node.op, Layer) or node.op.kind != "dense":
            continue
        end, views = _viewed(graph, node.inputs[0])
        attend = graph.nodes[end].op
        if not isinstance(attend, Attend) or len(graph.shape(end)) != 3:
            continue
        heads, positions, features = graph.shape(end)
        joined = _moved((heads, positions, features), views)
        plain = np.arange(joined.size).reshape(heads, positions, features).transpose(1, 0, 2)
        if not np.array_equal(joined, plain.reshape(positions, -1)):
            continue
        arrays = {f"o_{role}": array for role, array in node.op.arrays.items()}
        sources, kv_heads = set(), heads
        for name, read in zip("qkv", graph.nodes[end].inputs):
            source, views = _viewed(graph, read)
            op = graph.nodes[source].op
            if not isinstance(op, Layer) or op.kind != "dense" or len(graph.shape(source)) != 2:
                break
            width = op.config["output_dim"]
            moved = _moved(graph.shape(source), views)
            if moved.ndim != 3:
                break
            # Position t, head h, feature e has to be number rows[h, e] of what the layer writes at t.
            rows = moved[:, 0, :]
            steps = np.arange(moved.shape[1])[None, :, None] * width
            if (rows >= width).any() or not np.array_equal(moved, rows[:, None, :] + steps):
                break
            arrays[f"{name}_weight"] = np.take(op.arrays["weight"], rows.reshape(-1), axis=1 - layout.in_axis)
            if "bias" in op.arrays:
                arrays[f"{name}_bias"] = op.arrays["bias"][rows.reshape(-1)]
            sources.add(graph.nodes[source].inputs)
            kv_heads = len(moved)
        width = node.op.config["output_dim"]
        if (
            len(sources) != 1
            or "v_weight" not in arrays
            or graph.shape((*sources,)[0][0]) != (positions, width)
        ):
            continue
        mha = attention(width, heads, features, attend.causal, arrays, kv_heads)
        graph.nodes[i] = Node(mha, (*sources,)[0], node.shape, node.path, node.cls)


class _Lowering:
    def __init__(self, graph: Graph, layout: Layout, feed: Array | None):
        self.graph, self.layout, self.feed = graph, layout, feed
        self.problems: list[Problem] = list(graph.problems)
        self.notes: list[str] = []
        self.dominators: list[int] = []
        for i, node in enumerate(graph.nodes):
            found = node.inputs[0] if node.inputs else i
            for other in node.inputs[1:]:
                found = self.common(found, other)
            self.dominators.append(found)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def problem(self, node: Node, why: str, instead: str) -> None:
        found = Problem(node.path or "(model)", node.cls, why, instead)
        if found not in self.problems:
            self.problems.append(found)

    def common(self, a: int, b: int) -> int:
        """The last value that both a and b are computed from alone."""
        while a != b:
            a, b = (self.dominators[a], b) if a > b else (a, self.dominators[b])
        return a

    def run(self, output: int) -> tuple[list[Step], Value]:
        shape = self.graph.shape(0)
        start = Value(shape, prod(shape), (1, *shape), self.feed, fed=True)
        if self.feed is not None:
            start.loom = (1, start.size)
        return self.between(0, output, start)

    def between(self, start: int, end: int, value: Value) -> tuple[list[Step], Value]:
        """The steps from one node to a later one that depends on it alone."""
        spine = []
        while end != start:
            spine.append(end)
            end = self.dominators[end]
        steps: list[Step] = []
        for number in reversed(spine):
            value = self.step(number, steps, value)
        return steps, value

    def step(self, number: int, steps: list[Step], value: Value) -> Value:
        node = self.graph.nodes[number]
        op = node.op
        if isinstance(op, Add):
            return self.sum(number, node, steps, value)
        if isinstance(op, Activation):
            return self.activation(op.name, node, steps, value)
        if isinstance(op, Scale):
            return self.unit(steps, value, value.size, factor=op.factor)
        if isinstance(op, View):
            return self.view(op, node, value)
        if isinstance(op, Conv):
            return self.conv(op, node, number, steps, value)
        if isinstance(op, Softmax):
            return self.softmax(node, steps, value)
        if isinstance(op, Layer):
            return self.layer(op, node, steps, value)
        if isinstance(op, Mul):
            self.problem(
                node,
                "a product of two tensors is not a SwiGLU block, down(silu(gate(x)) * up(x)) of three "
                "dense layers whose widths go out and back",
                "replace it by additions or a SwiGLU block",
            )
        if isinstance(op, Attend):
            instead = (
                "make queries, keys and values by dense layers of one tensor, and join the heads by another"
            )
            self.problem(node, "these products are not a self-attention that Loom has", instead)
        if isinstance(op, Pad) and not self.pads(number):
            self.problem(
                node,
                "zeros are added for something other than a convolution",
                "pad before a convolution only",
            )
        if isinstance(op, Pad):
            return value
        return Value(node.shape, prod(node.shape), None)

    def pads(self, number: int) -> bool:
        readers = [n for n in self.graph.nodes if number in n.inputs]
        return bool(readers) and all(isinstance(n.op, Conv) for n in readers)

    def unit(
        self, steps: list[Step], value: Value, width: int, name: str = "linear", factor: float = 1.0
    ) -> Value:
        """A convolution of one weight: an activation of its own, a scale, or rows of `width`, a channel each."""
        rows = value.size // width
        kernel = factor * np.eye(rows, dtype=np.float32)[:, :, None]
        config: dict[str, Any] = {"in_channels": rows, "filters": rows, "input": [width], "kernel_size": 1}
        if name != "linear":
            config["activation"] = name
        steps.append(Plain("cnn1", config, {"weight": kernel}))
        return Value(value.shape, value.size, (1, rows, width), value.order, value.fed)

    def rows(self, steps: list[Step], value: Value, width: int) -> Value:
        """The value as Loom's layers read rows: off the last axis, or one in each sample."""
        if value.size == width or (value.loom is not None and len(value.loom) > 1 and value.loom[-1] == width):
            return value
        return self.unit(steps, value, width)

    def activation(self, name: str, node: Node, steps: list[Step], value: Value) -> Value:
        last = steps[-1] if steps else None
        # A value that others read too never ends up here with its layer: the steps that follow
        # a fork start a list of their own.
        if isinstance(last, Plain) and last.kind in ("dense", "cnn1", "cnn2", "cnn3", "embedding"):
            if "activation" not in last.config:
                last.config["activation"] = name
                return value
        self.note(f"{node.path}: an activation of its own is a convolution of one weight, 1")
        return self.unit(steps, value, value.size, name)

    def view(self, op: View, node: Node, value: Value) -> Value:
        if op.flat and value.order is None:
            return Value(node.shape, value.size, value.loom, None, value.fed)
        return self.ordered(Value(node.shape, value.size, value.loom, op.fn(value.positions()), value.fed))

    @staticmethod
    def ordered(value: Value) -> Value:
        """The value without an order that says nothing."""
        if value.order is not None and value.order.size == value.size:
            if np.array_equal(value.order.reshape(-1), np.arange(value.size)):
                value.order = None
        return value

    def sum(self, number: int, node: Node, steps: list[Step], value: Value) -> Value:
        start = self.dominators[number]
        ends = [end for end in node.inputs if end != start]
        if not ends:
            return self.unit(steps, value, value.size, factor=2.0)
        lowered = [self.between(start, end, _copy(value)) for end in ends]
        values = [found for _, found in lowered] + ([value] if len(ends) < len(node.inputs) else [])
        if any(v.size != values[0].size or not _same(v.order, values[0].order) for v in values):
            self.problem(
                node,
                "the two sides of this addition are laid out differently in Loom",
                "add tensors of one shape that convolutions or dense layers on both sides produce alike",
            )
            return Value(node.shape, prod(node.shape), None)
        if any(not found for found, _ in lowered):
            self.problem(
                node, "one side of this addition only moves elements", "add x and f(x), f with layers"
            )
            return Value(node.shape, prod(node.shape), None)
        after = lowered[0][1]
        steps.append(
            Residual(lowered[0][0]) if len(ends) < len(node.inputs) else Branches([s for s, _ in lowered])
        )
        fed = False
        return Value(node.shape, after.size, after.loom if len(ends) == 1 else None, after.order, fed)

    def plainly(self, node: Node, value: Value, reads: str) -> bool:
        """Whether the value has the framework's flat order; otherwise a problem."""
        if value.order is None:
            return True
        self.problem(
            node,
            f"{reads} of a tensor whose elements Loom keeps in another order (channels first, or "
            "one step of a sequence)",
            "put a dense layer over the flattened tensor before it, or move it",
        )
        return False

    def softmax(self, node: Node, steps: list[Step], value: Value) -> Value:
        if self.plainly(node, value, "softmax over the last axis"):
            width = node.shape[-1]
            if value.loom is None or value.loom[-1] != width or len(value.loom) < 2:
                value = self.unit(steps, value, width)
            steps.append(Plain("softmax", {}))
        return Value(node.shape, value.size, value.loom, value.order)

    def layer(self, op: Layer, node: Node, steps: list[Step], value: Value) -> Value:
        config, arrays = dict(op.config), dict(op.arrays)
        if op.kind == "dense":
            return self.dense(node, config, arrays, steps, value)
        if not self.plainly(node, value, f"{op.kind} reads rows"):
            return Value(node.shape, prod(node.shape), None)
        size, loom = prod(node.shape), value.loom
        if op.kind in ("mha", "lstm", "rnn"):
            if len(value.shape) != 2:
                self.problem(
                    node, f"{op.kind} reads [steps, features]; this is {value.shape}", "reshape before it"
                )
                return Value(node.shape, size, None)
            seq = value.shape[0]
            if op.kind == "mha":
                value, loom = self.sequences(config, seq, steps, value)
            else:
                config["seq_length"] = seq
                loom = (1, seq, config["hidden_size"])
        elif op.kind == "embedding":
            loom = loom and (*loom, config["embedding_dim"])
        elif op.kind in ("layernorm", "rmsnorm"):
            value = self.rows(steps, value, config["dim"])
            loom = value.loom
        elif op.kind == "swiglu":
            value = self.rows(steps, value, config["input_dim"])
            loom = _leading(value.loom, config["input_dim"], config["input_dim"], value.size)
        steps.append(Plain(op.kind, config, arrays))
        return Value(node.shape, size, loom)

    def sequences(
        self, config: dict[str, Any], seq: int, steps: list[Step], value: Value
    ) -> tuple[Value, Shape | None]:
        """Makes Loom's attention see `seq` positions: it reads them off a shape that ends in
        `[positions, d_model]`, and is told them where the last axis is another."""
        width, loom = config["d_model"], value.loom
        if loom is not None and loom[-1] == width and len(loom) > 2 and loom[-2] == seq:
            return value, loom
        if loom is None or loom[-1] == width:
            value = self.unit(steps, value, value.size)
        if seq > 1:
            config["seq_length"] = seq
        return value, (1, seq, width)

    def dense(
        self, node: Node, config: dict[str, Any], arrays: dict[str, Array], steps: list[Step], value: Value
    ) -> Value:
        width, units = config["input_dim"], config["output_dim"]
        rows = prod(value.shape) // width
        size = rows * units
        if value.order is None:
            value = self.rows(steps, value, width)
            loom = _leading(value.loom, width, units, value.size)
            steps.append(Plain("dense", config, arrays))
            return Value(node.shape, size, loom)
        axis, order = self.layout.in_axis, value.order.reshape(-1)
        if len(np.unique(order)) != order.size:
            self.problem(
                node, "it reads elements that are repeated", "repeat after the dense layer, or not at all"
            )
            return Value(node.shape, size, None)
        if rows == 1:
            weight = arrays["weight"]
            spread = np.zeros((value.size, units) if axis == 0 else (units, value.size), weight.dtype)
            spread[(order, slice(None)) if axis == 0 else (slice(None), order)] = weight
            arrays["weight"] = spread
            whole = value.size == width
            unread = f"the matrix has zeros for the {value.size - width} numbers that it does not read"
            permuted = "the matrix's input axis is permuted to Loom's channels first"
            self.note(f"{node.path}: {permuted if whole else unread}")
            steps.append(Plain("dense", config | {"input_dim": value.size}, arrays))
            return Value(node.shape, size, (1, units))
        if value.size == rows * width and np.array_equal(
            order.reshape(rows, width).T.reshape(-1), np.arange(value.size)
        ):
            self.note(f"{node.path}: a dense layer over channels is a convolution of extent 1")
            found: dict[str, Any] = {
                "in_channels": width,
                "filters": units,
                "input": [rows],
                "kernel_size": 1,
            }
            if "bias" in arrays:
                found["bias"] = True
            arrays["weight"] = self.layout.pointwise(arrays["weight"])
            steps.append(Plain("cnn1", found, arrays))
            after = np.arange(size).reshape(units, rows).T.reshape(node.shape)
            return self.ordered(Value(node.shape, size, (1, units, rows), after))
        self.problem(
            node,
            "the dense layer reads rows of a tensor whose elements Loom keeps in another order",
            "flatten before it, or keep the channels where the layer before puts them",
        )
        return Value(node.shape, size, None)

    def conv(self, op: Conv, node: Node, number: int, steps: list[Step], value: Value) -> Value:
        before = self.graph.nodes[node.inputs[0]]
        padding, shape = op.padding, value.shape
        if isinstance(before.op, Pad):
            padding = tuple((a + c, b + d) for (a, b), (c, d) in zip(padding, before.op.padding))
        order = (
            np.moveaxis(value.positions(), op.channels, 0) if value.order is not None or op.channels else None
        )
        channels, *extents = order.shape if order is not None else shape
        if order is not None and not np.array_equal(order.reshape(-1), np.arange(value.size)):
            self.reorder(order.reshape(-1), value, node, steps)
        config: dict[str, Any] = {
            "in_channels": channels,
            "filters": op.filters,
            "input": list(extents),
            "kernel_size": op.kernel,
        }
        out = [(n + a + b - op.kernel) // op.stride + 1 for n, (a, b) in zip(extents, padding)]
        pads = {a for a, _ in padding}
        if len(pads) != 1:
            self.problem(node, f"the zeros before each axis differ: {sorted(pads)}", "pad every axis alike")
        pad = min(pads)
        if op.stride != 1:
            config["stride"] = op.stride
        if pad:
            config["padding"] = pad
        if out != [(n + 2 * pad - op.kernel) // op.stride + 1 for n in extents]:
            config["output"] = out
        if "bias" in op.arrays:
            config["bias"] = True
        steps.append(Plain(f"cnn{len(extents)}", config, dict(op.arrays)))
        size = op.filters * prod(out)
        after = (
            np.moveaxis(np.arange(size).reshape(op.filters, *out), 0, op.channels) if op.channels else None
        )
        return self.ordered(Value(node.shape, size, (1, op.filters, *out), after))

    def reorder(self, order: Array, value: Value, node: Node, steps: list[Step]) -> None:
        """Makes a tensor that a convolution reads channels first: by feeding it so, or by the
        columns of the dense layer that produces it."""
        last = steps[-1] if steps else None
        complete = order.size == value.size
        if complete and value.fed and self.feed is None:
            fed = np.empty(value.size, np.int64)
            fed[order] = np.arange(value.size)
            raise _Feed(fed.reshape(self.graph.shape(0)))
        if (
            complete
            and isinstance(last, Plain)
            and last.kind == "dense"
            and last.config["output_dim"] == value.size
        ):
            last.arrays["weight"] = np.take(last.arrays["weight"], order, axis=1 - self.layout.in_axis)
            if "bias" in last.arrays:
                last.arrays["bias"] = last.arrays["bias"][order]
            self.note(f"{node.path}: the dense layer before it writes channels first")
            return
        self.problem(
            node,
            "the convolution reads channels that the layer before does not write channels first",
            "let a convolution, a dense layer over the whole sample or the input come before it",
        )


def _copy(value: Value) -> Value:
    return Value(value.shape, value.size, value.loom, value.order, value.fed)


def _same(a: Array | None, b: Array | None) -> bool:
    return (a is None and b is None) or (
        a is not None and b is not None and np.array_equal(a.reshape(-1), b.reshape(-1))
    )


def _leading(loom: Shape | None, width: int, units: int, size: int) -> Shape:
    """Loom's shape after a layer over rows: the leading axes where the last is the row."""
    if loom is not None and len(loom) > 1 and loom[-1] == width:
        return (*loom[:-1], units)
    return (size // width, units)
