"""Flax: a live linen module as a graph, from the jaxpr of its forward.

While the forward is traced, calls of Flax's own modules are intercepted and stand in the jaxpr as one
operation each; the glue between them (activations, reshapes, additions) stays as JAX's primitives.
Activations are recognised by their whole expression: what a function of `jax.nn` traces to, no more
and no less. A primitive that is none of these is refused where it stands.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import jax
import numpy as np
from flax import linen as nn
from flax import nnx
from jax import numpy as jnp
from jax.extend.core import Primitive

from ..planets.naming import jax as naming
from .graph import (
    EXACT_GELU,
    Activation,
    Add,
    Array,
    Conv,
    Graph,
    Layer,
    Layout,
    Mul,
    Scale,
    Softmax,
    UnmappableModel,
    View,
    attention,
    dense,
    norm,
    same_padding,
)
from .mapping import Mapped, lower

LAYOUT = Layout("jax", in_axis=0)
REPLACE = "replace it by layers that Loom has, or absorb the model without it"
GLUE = "between layers use activations of jax.nn, reshapes and additions"

Params = Mapping[str, Any]


@dataclass
class Leaf:
    """A call of one of Flax's modules: the module, its parameters and the arrays it was given."""

    module: Any
    path: str
    params: Params
    names: tuple[str, ...]
    options: dict[str, Any]
    shape: tuple[int, ...]


call_leaf = Primitive("flax_module")


@call_leaf.def_abstract_eval  # type: ignore[untyped-decorator]
def _abstract(*_: Any, leaf: int, shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.core.ShapedArray(shape, dtype)


def is_tree(net: Any) -> bool:
    """Whether this is a tree of parameters and not a module."""
    return isinstance(net, Mapping)


def tree(net: Any, params: Any) -> Params:
    """The variables of a linen module."""
    if not is_tree(params):
        raise ValueError("params= is needed: the variables of the module, as its init returns them")
    found: Params = params
    return found if "params" in found else {"params": found}


def _flags(net: Any) -> dict[str, bool]:
    """The inference switches that a module's call has."""
    names = inspect.signature(type(net).__call__).parameters
    values = {"train": False, "training": False, "is_training": False, "deterministic": True}
    return {name: value for name, value in values.items() if name in names}


def forward(net: Any, params: Any) -> Callable[[Array], Array]:
    """The framework's own forward."""

    def run(inputs: Array) -> Array:
        found = _apply(net, params)(_rows(inputs))
        return np.asarray(found)

    return run


def _rows(inputs: Array) -> Any:
    rows = np.asarray(inputs)
    return jnp.asarray(rows, jnp.int32 if rows.dtype.kind in "iu" else jnp.float32)


def _apply(net: Any, params: Any) -> Callable[[Any], Any]:
    if isinstance(net, nnx.Module):
        if params is not None:
            raise ValueError("an nnx module holds its own parameters; leave params= out")
        return lambda x: net(x, **_flags(net))
    variables = tree(net, params)
    return lambda x: net.apply(variables, x, **_flags(net))


def to_layers(
    net: Any, params: Any, inputs: Array | None, shape: Sequence[int] | None
) -> tuple[Mapped, Callable[[Array], Array]]:
    """The module in Loom's layers, and its own forward."""
    if not isinstance(net, (nn.Module, nnx.Module)):
        raise TypeError(f"expected a Flax module or a dictionary of parameters, not {type(net).__name__}")
    if inputs is None and shape is None:
        raise ValueError("the input's shape is not known: give inputs= or input_shape= (without the batch)")
    # Two samples, so that what mixes samples is seen.
    sample = _rows(
        np.zeros((2, *(shape or ())), np.float32)
        if inputs is None
        else np.resize(inputs[:2], (2, *inputs.shape[1:]))
    )
    graph = Graph.of(sample.shape[1:])
    if isinstance(net, nnx.Module):
        output = _Nnx(graph).run(net, sample)
        run = forward(net, None)
        return lower(graph, output, LAYOUT), run
    output = _trace(graph, _apply(net, params), sample, 0, type(net).__name__)
    return lower(graph, output, LAYOUT), forward(net, params)


class _Interceptor:
    """Puts one operation in the place of each call of Flax's own modules."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.inside = False

    def __call__(
        self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        stock = type(module).__module__.startswith("flax.linen")
        if (
            self.inside
            or context.method_name != "__call__"
            or not stock
            or isinstance(module, (nn.Sequential, nn.Dropout))
        ):
            return call(*args, **kwargs)
        self.inside = True
        try:
            found = call(*args, **kwargs)
        finally:
            self.inside = False
        if not isinstance(found, jax.Array):
            return found
        # The module's own operations stay in the jaxpr, but nothing reads them any more.
        names = tuple(inspect.signature(type(module).__call__).parameters)[1:]
        given = dict(zip(names, args)) | kwargs
        arrays = {name: value for name, value in given.items() if isinstance(value, (jax.Array, np.ndarray))}
        options = {name: value for name, value in given.items() if name not in arrays and value is not None}
        params = dict(module.variables.get("params", {}))
        if isinstance(module, nn.RNN):
            # A cell that is made in the calling module keeps its parameters there.
            params = {"cell": dict(module.cell.variables.get("params", {}))}
        self.leaves.append(Leaf(module, ".".join(module.path), params, tuple(arrays), options, found.shape))
        bind: Any = call_leaf.bind
        return bind(*arrays.values(), leaf=len(self.leaves) - 1, shape=found.shape, dtype=found.dtype)


@dataclass(frozen=True, eq=False)
class _Eqn:
    """One primitive of the flattened jaxpr; operands and results by number."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scope: str


class _Flat:
    """A jaxpr with its calls inlined. Values are numbers; constants are known by value."""

    def __init__(self, closed: Any):
        self.eqns: list[_Eqn] = []
        self.avals: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.source: dict[int, _Eqn] = {}
        self.inputs = [self._new(v.aval) for v in closed.jaxpr.invars]
        self.outputs = self._inline(closed.jaxpr, closed.consts, self.inputs, "")

    def _new(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def _constant(self, value: Any, aval: Any) -> int:
        number = self._new(aval)
        self.constants[number] = value
        return number

    def _inline(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int], scope: str) -> list[int]:
        at: dict[Any, int] = dict(zip(jaxpr.invars, inputs))
        for var, value in zip(jaxpr.constvars, consts):
            at[var] = self._constant(value, var.aval)

        def number(atom: Any) -> int:
            return self._constant(atom.val, atom.aval) if hasattr(atom, "val") else at[atom]

        for eqn in jaxpr.eqns:
            inner_scope = str(eqn.source_info.name_stack) or scope
            read = [number(atom) for atom in eqn.invars]
            inner = next(
                (eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params), None
            )
            if inner is not None and eqn.primitive.name in _CALLS:
                open_, values = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
                found = self._inline(open_, values, read, inner_scope)
                at.update(zip(eqn.outvars, found))
                continue
            out = [self._new(v.aval) for v in eqn.outvars]
            at.update(zip(eqn.outvars, out))
            flat = _Eqn(eqn.primitive, dict(eqn.params), tuple(read), tuple(out), inner_scope)
            self.eqns.append(flat)
            self.source.update((n, flat) for n in out)
            if eqn.primitive is not call_leaf and all(n in self.constants for n in read):
                self._evaluate(flat)
        return [number(atom) for atom in jaxpr.outvars]

    def _evaluate(self, eqn: _Eqn) -> None:
        """Computes what does not depend on the input."""
        try:
            found = eqn.primitive.bind(*(self.constants[n] for n in eqn.inputs), **eqn.params)
        except Exception:  # left as an operation, which is refused by name if it is needed
            return
        self.constants.update(zip(eqn.outputs, found if eqn.primitive.multiple_results else [found]))


_CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "checkpoint",
    "remat2",
    "remat",
)
_SAME = ("stop_gradient", "copy", "optimization_barrier")
_MOVES = (
    "reshape",
    "transpose",
    "slice",
    "dynamic_slice",
    "squeeze",
    "broadcast_in_dim",
    "expand_dims",
    "rev",
    "gather",
)


def _expressions() -> list[tuple[str, Callable[[Any], Any]]]:
    """What is recognised, larger expressions first."""
    return [
        ("softmax", lambda x: jax.nn.softmax(x)),
        ("erf", lambda x: jax.nn.gelu(x, approximate=False)),
        ("gelu", lambda x: jax.nn.gelu(x, approximate=True)),
        ("leaky_relu", lambda x: jax.nn.leaky_relu(x)),
        ("silu", lambda x: jax.nn.silu(x)),
        ("relu", lambda x: jax.nn.relu(x)),
        ("relu", lambda x: jnp.maximum(0.0, x)),
        ("sigmoid", lambda x: jax.nn.sigmoid(x)),
        ("tanh", lambda x: jnp.tanh(x)),
    ]


def _trace(
    graph: Graph, function: Callable[[Any], Any], sample: Any, read: int, cls: str, prefix: str = ""
) -> int:
    """Adds what `function` computes from node `read` to the graph."""
    interceptor = _Interceptor()

    def traced(x: Any) -> Any:
        with nn.intercept_methods(interceptor):
            found = function(x)
        if not isinstance(found, jax.Array):
            raise TypeError(f"it returns a {type(found).__name__}, not one array")
        return found

    try:
        closed = jax.make_jaxpr(traced)(sample)
    except Exception as error:  # whatever a user's forward raises on arrays without values
        lines = str(error).strip().splitlines() or [type(error).__name__]
        graph.problem(
            prefix,
            cls,
            f"the forward cannot be traced: {lines[0]}",
            "write it without branches on arrays and without random numbers",
        )
        raise UnmappableModel(graph.problems) from error
    return _Walk(graph, _Flat(closed), interceptor.leaves, read, prefix).run()


class _Walk:
    """Turns the flattened jaxpr into graph nodes, from what the output needs."""

    def __init__(self, graph: Graph, flat: _Flat, leaves: list[Leaf], read: int, prefix: str):
        self.graph, self.flat, self.leaves, self.prefix = graph, flat, leaves, prefix
        self.at: dict[int, int] = {flat.inputs[0]: read}
        self.known: dict[Any, list[tuple[str, _Flat]]] = {}

    def run(self) -> int:
        [output] = self.flat.outputs
        if output in self.flat.constants:
            return self.graph.refuse(
                (), (), self.prefix, "output", "the output does not depend on the input", REPLACE
            )
        needed: dict[_Eqn, tuple[str, int] | None] = {}
        waiting = [output]
        while waiting:
            number = waiting.pop()
            eqn = self.flat.source.get(number)
            if eqn is None or eqn in needed or number in self.flat.constants:
                continue
            needed[eqn] = self.recognise(number)
            found = needed[eqn]
            waiting += [found[1]] if found else list(eqn.inputs)
        for eqn in self.flat.eqns:
            if eqn in needed:
                self.at[eqn.outputs[0]] = self.node(eqn, needed[eqn])
        return self.at[output]

    def recognise(self, number: int) -> tuple[str, int] | None:
        """The activation whose whole expression ends in this value, and what it is applied to."""
        aval = self.flat.avals[number]
        key = (aval.shape, aval.dtype)
        if key not in self.known:
            spec = jax.ShapeDtypeStruct(aval.shape, aval.dtype)  # type: ignore[no-untyped-call]
            self.known[key] = (
                []
                if not jnp.issubdtype(aval.dtype, jnp.floating) or not aval.shape
                else [(name, _Flat(jax.make_jaxpr(fn)(spec))) for name, fn in _expressions()]
            )
        for name, template in self.known[key]:
            bound: list[int] = []
            if self.unify(template, template.outputs[0], number, bound):
                return name, bound[0]
        return None

    def unify(self, template: _Flat, wanted: int, found: int, bound: list[int]) -> bool:
        if wanted == template.inputs[0]:
            bound[:] = bound or [found]
            return bound[0] == found
        if wanted in template.constants:
            other = self.flat.constants.get(found)
            return other is not None and np.array_equal(
                np.asarray(template.constants[wanted]), np.asarray(other)
            )
        a, b = template.source[wanted], self.flat.source.get(found)
        if b is None or a.primitive is not b.primitive or len(a.inputs) != len(b.inputs):
            return False
        if any(str(a.params[k]) != str(b.params.get(k)) for k in a.params):
            return False
        return all(self.unify(template, x, y, bound) for x, y in zip(a.inputs, b.inputs))

    def node(self, eqn: _Eqn, recognised: tuple[str, int] | None) -> int:
        shape = self.flat.avals[eqn.outputs[0]].shape[1:]
        path = f"{self.prefix}{eqn.scope or '(model)'}"
        name = eqn.primitive.name
        if recognised is not None and recognised[1] in self.at:
            kind, source = recognised
            read = [self.at[source]]
            if kind == "erf":
                return self.graph.refuse(
                    read, shape, path, "gelu", EXACT_GELU, "use jax.nn.gelu(x, approximate=True)"
                )
            op = Softmax() if kind == "softmax" else Activation(kind)
            return self.graph.add(op, read, shape, path, kind)
        read = [self.at[n] for n in eqn.inputs if n in self.at]

        def no(why: str, instead: str) -> int:
            return self.graph.refuse(read, shape, path, name, why, instead)

        if eqn.primitive is call_leaf:
            return self.leaf(eqn)
        if name in _SAME:
            return read[0]
        if name == "convert_element_type":
            source_kind, kind = self.flat.avals[eqn.inputs[0]].dtype, self.flat.avals[eqn.outputs[0]].dtype
            if (
                kind != source_kind
                and kind != jnp.float32
                and not (read[0] == 0 and kind in (jnp.int32, jnp.int64))
            ):
                return no(f"it casts {source_kind} to {kind}", "use float32")
            return read[0]
        if name in _MOVES and len(read) == 1:
            return self.move(eqn, read[0], shape, path, no)
        if name in ("add", "add_any"):
            if len(read) != 2:
                return no("it adds a constant", "let a bias of a layer hold it")
            if any(self.graph.shape(r) != shape for r in read):
                return no("it adds arrays of different shapes", "add arrays of one shape")
            return self.graph.add(Add(), read, shape, path, name)
        if name == "mul":
            constants = [np.asarray(self.flat.constants[n]) for n in eqn.inputs if n in self.flat.constants]
            if len(read) == 2:
                return self.graph.add(Mul(), read, shape, path, name)
            if len(constants) == 1 and constants[0].ndim == 0:
                return self.graph.add(Scale(float(constants[0])), read, shape, path, name)
        return no("it is not the glue of a chain that Loom has", GLUE)

    def move(
        self, eqn: _Eqn, read: int, shape: tuple[int, ...], path: str, no: Callable[[str, str], int]
    ) -> int:
        """An operation that only moves elements: seen by moving their numbers."""
        size = int(np.prod(self.graph.shape(read), dtype=np.int64))
        numbers = jnp.arange(2 * size, dtype=jnp.int32).reshape(2, *self.graph.shape(read))
        operands = [self.flat.constants[n] if n in self.flat.constants else numbers for n in eqn.inputs]
        if any(n not in self.flat.constants and n not in self.at for n in eqn.inputs):
            return no("it reads something else than the model's array", GLUE)
        moved = np.asarray(eqn.primitive.bind(*operands, **eqn.params))
        if (
            moved.shape[:1] != (2,)
            or not np.array_equal(moved[0] + size, moved[1])
            or (moved[0] >= size).any()
        ):
            return no("it mixes samples of a batch", "keep the first axis")
        index, flat = moved[0], np.array_equal(moved[0].reshape(-1), np.arange(size))
        view = View(lambda order: order.reshape(-1)[index], flat=bool(flat))
        return self.graph.add(view, [read], shape, path, eqn.primitive.name)

    def leaf(self, eqn: _Eqn) -> int:
        leaf = self.leaves[eqn.params["leaf"]]
        path = f"{self.prefix}{leaf.path or '(model)'}"
        extra = {name: self.flat.constants.get(n) for name, n in zip(leaf.names, eqn.inputs)}
        given = {name: self.at.get(n) for name, n in zip(leaf.names, eqn.inputs)}
        read = given.get(leaf.names[0]) if leaf.names else None
        call = _Call(self.graph, leaf, path, read if read is not None else 0, given, extra)
        if read is None:
            return call.no("it does not read the model's array", "chain the layers")
        return call.run()


class _Call:
    """One call of a Flax module."""

    def __init__(
        self,
        graph: Graph,
        leaf: Leaf,
        path: str,
        read: int,
        given: dict[str, int | None],
        extra: dict[str, Any],
    ):
        self.graph, self.module, self.params, self.path, self.read = (
            graph,
            leaf.module,
            leaf.params,
            path,
            read,
        )
        self.given, self.extra, self.options = given, extra, leaf.options
        self.cls, self.shape = type(leaf.module).__name__, leaf.shape[1:]

    def no(self, why: str, instead: str) -> int:
        return self.graph.refuse([self.read], self.shape, self.path, self.cls, why, instead)

    def add(self, op: Any) -> int:
        return self.graph.add(op, [self.read], self.shape, self.path, self.cls)

    def roles(self, leaves: dict[str, naming.Leaf]) -> dict[str, Array]:
        """The parameters by role."""
        found = {}
        for role, leaf in leaves.items():
            value: Any = self.params
            for part in leaf:
                value = value[part]
            found[role] = np.asarray(value)
        return found

    def run(self) -> int:
        handler = MODULES.get(type(self.module))
        if handler is None:
            return self.no("Loom has no such layer", _INSTEAD.get(self.cls, REPLACE))
        kinds = {str(a.dtype) for a in jax.tree.leaves(self.params)} | {
            str(jnp.dtype(self.module.dtype or jnp.float32)) if hasattr(self.module, "dtype") else "float32"
        }
        if kinds - {"float32"}:
            return self.no(f"it computes in {', '.join(sorted(kinds - {'float32'}))}", "use float32")
        own = [name for name, node in self.given.items() if node is not None and node != self.read]
        if own and handler is not _attention:
            return self.no("it reads a second array", "call it with one array")
        return handler(self)


_INSTEAD = {
    "BatchNorm": "fold it into the layer before",
    "GRUCell": "use an LSTM or SimpleCell",
    "ConvTranspose": "use nn.Conv",
}


def _custom(m: Any, *names: str) -> bool:
    stock = (None, jax.lax.dot_general, jax.lax.conv_general_dilated)
    return any(getattr(m, name, None) not in stock for name in names)


def _dense(call: _Call) -> int:
    m = call.module
    if _custom(m, "dot_general", "dot_general_cls"):
        return call.no("it has a product of its own", "use the default one")
    arrays = call.roles(naming.kernel(m.use_bias))
    width, units = arrays["weight"].shape
    return call.add(dense(arrays["weight"], arrays.get("bias"), width, units))


def _pair(value: Any, rank: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * rank
    return (int(value),) * rank if isinstance(value, (int, np.integer)) else tuple(int(v) for v in value)


def _conv(call: _Call) -> int:
    m = call.module
    sizes = tuple(m.kernel_size) if isinstance(m.kernel_size, Sequence) else (int(m.kernel_size),)
    rank, shape = len(sizes), call.graph.shape(call.read)
    strides = _pair(m.strides, rank)
    wrong = []
    if len(set(sizes)) != 1:
        wrong.append(f"its kernel is {sizes}")
    if len(set(strides)) != 1:
        wrong.append(f"its stride is {strides}")
    for name in ("input_dilation", "kernel_dilation"):
        if set(_pair(getattr(m, name), rank)) != {1}:
            wrong.append(f"its {name} is {getattr(m, name)}")
    if m.feature_group_count != 1:
        wrong.append(f"it has {m.feature_group_count} groups")
    if m.mask is not None:
        wrong.append("its kernel is masked")
    if _custom(m, "conv_general_dilated", "conv_general_dilated_cls"):
        wrong.append("it has a product of its own")
    if len(shape) != rank + 1:
        wrong.append(f"it reads {shape}")
    if rank > 3:
        wrong.append(f"it has {rank} axes")
    if isinstance(m.padding, str) and m.padding not in ("SAME", "VALID", "CAUSAL"):
        wrong.append(f"its padding is {m.padding}")
    if wrong:
        return call.no(
            " and ".join(wrong),
            "use one kernel size and stride for all axes, without dilation and groups, padded with zeros",
        )
    padding: tuple[tuple[int, int], ...] = ((0, 0),) * rank
    if m.padding == "SAME":
        padding = same_padding(shape[:-1], sizes[0], strides[0])
    elif m.padding == "CAUSAL":
        padding = ((sizes[0] - 1, 0),)
    elif isinstance(m.padding, int):
        padding = ((m.padding, m.padding),) * rank
    elif not isinstance(m.padding, str):
        padding = tuple((p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in m.padding)
    arrays = call.roles(naming.kernel(m.use_bias))
    return call.add(Conv(call.shape[-1], sizes[0], strides[0], padding, -1, arrays))


def _norm(call: _Call) -> int:
    m, rank = call.module, len(call.shape)
    for name in ("reduction_axes", "feature_axes"):
        axes = getattr(m, name)
        if tuple(axes if isinstance(axes, Sequence) else [axes]) not in ((-1,), (rank,)):
            return call.no(f"its {name} are {axes}", "use the last axis, -1")
    if getattr(m, "axis_name", None) is not None or len(call.given) > 1:
        return call.no("it is masked or runs over devices", "use it on one array")
    biased = bool(getattr(m, "use_bias", False))
    arrays = call.roles(naming.norm(m.use_scale, biased))
    kind = "layernorm" if isinstance(m, (nn.LayerNorm, nnx.LayerNorm)) else "rmsnorm"
    return call.add(norm(kind, call.shape[-1], m.epsilon, arrays.get("gamma"), arrays.get("beta")))


def _embedding(call: _Call) -> int:
    arrays = call.roles(naming.embedding())
    vocabulary, features = arrays["weight"].shape
    if vocabulary > 1 << 24:
        return call.no("float32 cannot name that many rows", "use at most 16777216 rows")
    return call.add(Layer("embedding", {"vocab_size": vocabulary, "embedding_dim": features}, arrays))


def _recurrent(call: _Call) -> int:
    m, cell = call.module, call.module.cell
    kind = "rnn" if type(cell) is nn.SimpleCell else "lstm"
    wrong = []
    if type(cell) not in (nn.LSTMCell, nn.OptimizedLSTMCell, nn.SimpleCell):
        wrong.append(f"its cell is a {type(cell).__name__}")
    if cell.activation_fn is not nn.tanh or (kind == "lstm" and cell.gate_fn is not nn.sigmoid):
        wrong.append("its activations are not tanh and sigmoid")
    if getattr(cell, "residual", False):
        wrong.append("its cell is residual")
    flags = [
        name
        for name in ("time_major", "return_carry", "reverse")
        if getattr(m, name) or call.options.get(name)
    ]
    if flags:
        wrong.append(f"it has {', '.join(flags)}")
    if set(call.given) - {"inputs"} or "initial_carry" in call.options:
        wrong.append("it is given a carry or lengths")
    if wrong:
        return call.no(
            ", ".join(wrong), "use nn.RNN over an LSTM cell or SimpleCell of its own, forwards, from zeros"
        )
    features = call.graph.shape(call.read)[-1]
    arrays = call.roles(naming.recurrent(kind))
    return call.add(Layer(kind, {"input_size": features, "hidden_size": cell.features}, arrays))


def _attention(call: _Call) -> int:
    m, shape = call.module, call.graph.shape(call.read)
    wrong = []
    if any(call.given[name] != call.read for name in call.given if name.startswith("inputs")):
        wrong.append("query, key and value are not one array")
    if m.decode or m.normalize_qk or call.options.get("decode"):
        wrong.append("it decodes step by step or normalises queries and keys")
    if m.attention_fn is not nn.dot_product_attention or _custom(
        m,
        "qkv_dot_general",
        "out_dot_general",
        "qkv_dot_general_cls",
        "out_dot_general_cls",
        "qk_attn_weights_einsum_cls",
        "attn_weights_value_einsum_cls",
    ):
        wrong.append("it has products of its own")
    if len(shape) != 2 or call.shape != shape:
        wrong.append(f"it reads {shape} and writes {call.shape}")
    masked = "full"
    if "mask" in call.given:
        masked = _mask(call.extra.get("mask"), shape[0])
        if not masked:
            wrong.append("its mask is neither absent nor causal")
    if wrong:
        return call.no(", ".join(wrong), "use self-attention with no mask or nn.make_causal_mask")
    # Kernels are [in, heads, features]: the heads side by side are the matrix's columns.
    width = shape[-1]
    arrays: dict[str, Array] = {}
    for name, part in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
        found = call.roles(
            {role: (part, *leaf) for role, leaf in naming.kernel("bias" in call.params[part]).items()}
        )
        heads, features = found["weight"].shape[1:] if name != "o" else found["weight"].shape[:2]
        arrays[f"{name}_weight"] = found["weight"].reshape((width, -1) if name != "o" else (-1, width))
        if "bias" in found:
            arrays[f"{name}_bias"] = found["bias"].reshape(-1)
    return call.add(attention(width, heads, features, masked == "causal", arrays))


def _mask(mask: Any, positions: int) -> str:
    """`full` or `causal`; empty where a mask is something else, or depends on the input."""
    if mask is None:
        return ""
    seen = np.asarray(mask) != 0
    if seen.shape[-2:] != (positions, positions):
        return ""
    if seen.all():
        return "full"
    return "causal" if (seen == np.tri(positions, dtype=bool)).all() else ""


MODULES: dict[type, Callable[[_Call], int]] = {
    nn.Dense: _dense,
    nnx.Linear: _dense,
    nn.Conv: _conv,
    nnx.Conv: _conv,
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nnx.LayerNorm: _norm,
    nnx.RMSNorm: _norm,
    nn.Embed: _embedding,
    nnx.Embed: _embedding,
    nn.RNN: _recurrent,
    nn.MultiHeadDotProductAttention: _attention,
    nn.MultiHeadAttention: _attention,
    nn.SelfAttention: _attention,
}


class _Nnx:
    """nnx.Sequential: its layers one after another, functions by their jaxpr."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def run(self, net: Any, sample: Any, read: int = 0, prefix: str = "") -> int:
        layers = list(net.layers) if isinstance(net, nnx.Sequential) else [net]
        for i, layer in enumerate(layers):
            path = f"{prefix}layers.{i}" if isinstance(net, nnx.Sequential) else prefix or "(model)"
            if isinstance(layer, nnx.Sequential):
                read = self.run(layer, sample, read, f"{path}.")
                sample = jnp.zeros((2, *self.graph.shape(read)), jnp.float32)
                continue
            if isinstance(layer, nnx.Dropout):
                if not layer.deterministic and layer.rate > 0:
                    why = "it drops in evaluation too"
                    self.graph.problem(path, "Dropout", why, "call .eval() on the module first")
                continue
            out = jax.eval_shape(layer, sample)
            if isinstance(layer, nnx.Module):
                params = {
                    name: value[...]
                    for name, value in vars(layer).items()
                    if isinstance(value, nnx.Param) and value.get_value() is not None
                }
                leaf = Leaf(layer, path, params, ("inputs",), {}, out.shape)
                read = _Call(self.graph, leaf, path, read, {"inputs": read}, {}).run()
            else:
                read = _trace(
                    self.graph, layer, sample, read, getattr(layer, "__name__", "function"), f"{path}."
                )
            sample = jnp.zeros(out.shape, out.dtype)
        return read


def chain(variables: Params) -> list[tuple[str, dict[str, Array]]]:
    """Dense_0, Dense_1, … of a tree of parameters in the order of their numbers, by role."""
    params = variables.get("params", variables)
    names = [
        name for name in params if name.rpartition("_")[0] == "Dense" and name.rpartition("_")[2].isdigit()
    ]
    found = []
    for name in sorted(names, key=lambda name: int(name.rpartition("_")[2])):
        leaves = naming.kernel("bias" in params[name])
        found.append((name, {role: np.asarray(params[name][leaf]) for role, (leaf,) in leaves.items()}))
    return found
