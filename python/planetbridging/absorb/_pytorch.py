"""PyTorch: a live torch.nn.Module as a graph, by symbolic tracing with torch's own modules as leaves.

Hand-written forwards are followed as far as they chain modules, activations, reshapes and additions.
Nothing of the module is changed; its training flags are put back.
"""

from __future__ import annotations

import contextlib
import operator
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from ..planets.naming import pytorch as naming
from .graph import (
    EXACT_GELU,
    Activation,
    Add,
    Array,
    Attend,
    Conv,
    Graph,
    Layer,
    Layout,
    Mul,
    Problem,
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

LAYOUT = Layout("pytorch", in_axis=1)
CAUSAL = "causal"


def to_array(parameter: torch.Tensor) -> Array:
    """A parameter as float32; other precisions are refused where they are found."""
    found: Array = parameter.detach().cpu().contiguous().numpy()
    return found


def roles(named: naming.Named) -> dict[str, Array]:
    """Arrays by the last part of their names."""
    return {name.rsplit(".", 1)[1]: to_array(parameter) for name, parameter in named}


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients; every module's own flag is put back."""
    flags = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def forward(net: nn.Module, ids: bool) -> Callable[[Array], Array]:
    """The framework's own forward on float32 (on int64 where the model begins with an embedding)."""

    def run(inputs: Array) -> Array:
        with evaluating(net):
            found = net(tensor(net, inputs, ids))
        found = found[0] if isinstance(found, tuple) else found
        result: Array = found.detach().cpu().numpy()
        return result

    return run


def tensor(net: nn.Module, inputs: Array, ids: bool) -> torch.Tensor:
    """Inputs where the model's parameters are."""
    first = next(net.parameters(), None)
    kind = torch.int64 if ids else torch.float32
    # A copy: forwards may write into what they are given.
    return torch.tensor(np.asarray(inputs), dtype=kind, device=None if first is None else first.device)


def to_layers(net: nn.Module, inputs: Array | None, shape: Sequence[int] | None) -> tuple[Mapped, bool]:
    """The model in Loom's layers, and whether it reads ids."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(net).__name__}")
    with evaluating(net):
        graph, output, ids = trace(net, inputs, shape)
    return lower(graph, output, LAYOUT), ids


def trace(net: nn.Module, inputs: Array | None, shape: Sequence[int] | None) -> tuple[Graph, int, bool]:
    """What the module's forward computes on a sample."""
    other = [p for p in _hopeless(net) if "float" in p.why]
    if other:
        raise UnmappableModel(other)
    stock = _is_stock(net)
    root = nn.Sequential(net).eval() if stock else net
    if inputs is None:
        rows: Array = np.zeros((2, *(_guess(net) if shape is None else shape)), np.float32)
    else:
        # A lone row twice, so that the batch axis is told from an axis of one.
        rows = np.resize(inputs[:2], (2, *np.shape(inputs)[1:]))
    first = rows.dtype.kind in "iu"
    try:
        tracer, traced, ids = _Tracer(tensor(net, rows, first)), None, first
        traced = tracer.follow(root)
    except _NotRun as error:
        # Embeddings want whole numbers, everything else does not.
        tracer, ids = _Tracer(tensor(net, rows, not first)), not first
        try:
            traced = tracer.follow(root)
        except _NotRun:
            raise ValueError(f"the model does not run on an input of shape {rows.shape}: {error}") from error
        except _NotTraced as again:
            raise UnmappableModel(_untraceable(net, again)) from error
    except _NotTraced as error:
        raise UnmappableModel(_untraceable(net, error)) from error
    walk = _Walk(root, traced, tracer, type(net).__name__ if stock else "")
    return walk.graph, walk.run(), ids


def _is_stock(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and not _container(module)


def _container(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _hopeless(net: nn.Module, path: str = "") -> list[Problem]:
    """Modules that are refused in any case, whatever the forward does with them."""
    if not _is_stock(net):
        return [
            p
            for name, child in net.named_children()
            for p in _hopeless(child, f"{path}.{name}" if path else name)
        ]
    cls, where = type(net).__name__, path or "(model)"
    other = {str(p.dtype) for p in net.parameters() if p.dtype != torch.float32}
    found = (
        []
        if not other
        else [
            Problem(
                where,
                cls,
                f"its parameters are {', '.join(sorted(other))}",
                "call .float() on the model first",
            )
        ]
    )
    if type(net) not in MODULES:
        found.append(Problem(where, cls, "Loom has no such layer", _INSTEAD.get(type(net), REPLACE)))
    return found


def _untraceable(net: nn.Module, error: Exception) -> list[Problem]:
    """The forward itself, and every module that would be refused in any case."""
    what = str(error).strip().splitlines()
    head = Problem(
        "(model)",
        type(net).__name__,
        f"the forward cannot be traced: {what[0] if what else 'no reason given'}",
        "write it for one input without branches on tensors, or map it as a dense chain with layer_specs=",
    )
    return [head, *_hopeless(net)]


def _guess(net: nn.Module) -> Sequence[int]:
    """The input's shape where the first layer alone determines it."""
    first = next((m for m in net.modules() if _is_stock(m)), None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    if isinstance(first, (nn.LayerNorm, nn.RMSNorm)):
        return tuple(first.normalized_shape)
    raise ValueError(
        "the input's shape is not known: give inputs=, input_shape= (without the batch) or input_dim="
    )


class _NotRun(Exception):
    """The model fails on the sample."""


class _NotTraced(Exception):
    """The forward does something that has no trace."""


class _Tracer(fx.Tracer):
    """Runs the forward on a sample while it is traced. Leaves are the modules of torch.nn; the user's
    own are followed. Sizes are known numbers, tensors are not: what branches on them cannot be traced."""

    def __init__(self, sample: torch.Tensor):
        super().__init__()
        self.sample = sample
        self.values: dict[fx.Node, Any] = {}
        self.versions: dict[fx.Node, int] = {}
        self.stale: set[fx.Node] = set()
        self.running = False

    def follow(self, root: nn.Module) -> fx.Graph:
        """The trace of a module, which is left as it was."""
        before = set(vars(root)), set(root._buffers)
        try:
            return self.trace(root)
        except (_NotRun, _NotTraced):
            raise
        except Exception as error:  # whatever a user's forward raises when its tensors have no values
            raise _NotTraced(str(error)) from error
        finally:
            # Tracing keeps constants in the root.
            for name in set(vars(root)) - before[0]:
                delattr(root, name)
            for name in set(root._buffers) - before[1]:
                del root._buffers[name]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_stock(m)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Sized(node, self)

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Proxy:
        if self.running:
            raise _NotTraced("a traced module was run")
        proxy = super().create_proxy(kind, target, *args, **kwargs)
        node = proxy.node
        for source in node.all_input_nodes:
            seen: Any = self.values.get(source)
            if source in self.versions and seen._version != self.versions[source]:
                self.stale.add(node)
        if kind != "output":
            value = self.values[node] = self.value(node)
            if isinstance(value, torch.Tensor):
                self.versions[node] = value._version
        return proxy

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        seen = self.values[obj.node]
        proxy: Any = obj
        if not isinstance(seen, (tuple, list)):
            return super().iter(obj)
        return iter([operator.getitem(proxy, i) for i in range(len(seen))])

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self.running else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def known(self, node: fx.Node) -> Any:
        """The value of a node; constants come into the graph unseen."""
        if node not in self.values:
            self.values[node] = self.value(node)
        return self.values[node]

    def value(self, node: fx.Node) -> Any:
        """What a node gives on the sample."""
        args: Any = fx.node.map_arg(node.args, self.known)
        kwargs: Any = fx.node.map_arg(node.kwargs, self.known)
        target: Any = node.target
        self.running = True
        try:
            if node.op == "placeholder":
                taken = any(n.op == "placeholder" for n in self.values)
                if taken and not args:
                    raise _NotTraced("it reads more than one input")
                return args[0] if taken else self.sample
            if node.op == "get_attr":
                found: Any = self.root
                for part in str(node.target).split("."):
                    found = getattr(found, part)
                return found
            if node.op == "call_module":
                return self.root.get_submodule(str(node.target))(*args, **kwargs)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return target(*args, **kwargs)
        except _NotTraced:
            raise
        except Exception as error:  # whatever an operation says about the sample
            raise _NotRun(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
        finally:
            self.running = False


class _Sized(fx.Proxy):
    """A traced tensor whose sizes are known."""

    def _seen(self) -> Any:
        return self.tracer.values[self.node]  # type: ignore[attr-defined]

    @property
    def shape(self) -> Any:
        return self._seen().shape

    @property
    def ndim(self) -> Any:
        return self._seen().ndim

    @property
    def dtype(self) -> Any:
        return self._seen().dtype

    @property
    def device(self) -> Any:
        return self._seen().device

    def size(self, *args: Any) -> Any:
        return self._seen().size(*args)

    def dim(self) -> Any:
        return self._seen().dim()

    def __len__(self) -> int:
        return len(self._seen())


class Tuple:
    """The result of a recurrent or attention module: its output and what else it returns."""

    def __init__(self, output: int, state: str):
        self.output, self.state = output, state


class _Walk:
    """Turns fx nodes into graph nodes."""

    def __init__(self, root: nn.Module, trace: fx.Graph, tracer: _Tracer, alone: str):
        self.root, self.trace, self.values, self.alone = root, trace, tracer.values, alone
        self.stale, sample = tracer.stale, tracer.sample
        self.batch = len(sample)
        self.graph = Graph.of(sample.shape[1:])
        self.at: dict[fx.Node, Any] = {}
        self.static: set[fx.Node] = set()
        self.node: fx.Node | None = None

    def run(self) -> int:
        output = 0
        for node in self.trace.nodes:
            self.node = node
            if node.op == "placeholder":
                if not self.at:
                    self.at[node] = 0
                else:
                    self.static.add(node)
            elif node.op == "output":
                output = self.output(node)
            elif node.op == "get_attr" or self.is_static(node):
                self.static.add(node)
            else:
                self.at[node] = self.call(node)
        return output

    def output(self, node: fx.Node) -> int:
        found = node.args[0]
        self.fresh(node)
        if isinstance(found, (tuple, list)):
            found = found[0]
        if not isinstance(found, fx.Node) or found not in self.at:
            return self.graph.refuse(
                (),
                (),
                "(model)",
                "output",
                "the output does not depend on the input",
                "return a tensor, or a tuple whose first element is the output",
            )
        result = self.at[found]
        if isinstance(result, str):
            return self.graph.refuse(
                (),
                (),
                "(model)",
                "output",
                f"the output is the {result} of a layer",
                "return the layer's output",
            )
        return result.output if isinstance(result, Tuple) else int(result)

    def is_static(self, node: fx.Node) -> bool:
        """Whether a value is computed from constants of the model alone."""
        return all(source in self.static for source in node.all_input_nodes)

    def value(self, arg: Any) -> Any:
        """A constant argument's value."""
        return fx.node.map_arg(arg, lambda node: self.values[node])

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        found = self.values[node]
        found = found[0] if isinstance(found, tuple) else found
        return tuple(found.shape[1:]) if isinstance(found, torch.Tensor) else ()

    def shaped(self, node: Any) -> tuple[int, ...]:
        """The whole shape of a node's value."""
        found = self.values[node]
        return tuple(found.shape) if isinstance(found, torch.Tensor) else ()

    def where(self, node: fx.Node) -> str:
        stack = node.meta.get("nn_module_stack") or {}
        inner = [entry[0] if isinstance(entry, tuple) else key for key, entry in stack.items()]
        return f"{inner[-1]}.{node.name}" if inner and inner[-1] else node.name

    def call(self, node: fx.Node) -> Any:
        self.fresh(node)
        if node.op == "call_module":
            return self.module_call(node)
        name = (
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", str(node.target))
        )
        first: Any = node.args[0] if node.args else None
        if node.target is operator.getitem and isinstance(self.at.get(first), (Tuple, str)):
            return self.item(node)
        if node.target is operator.getitem and isinstance(self.at.get(first), list):
            return self.at[first][self.value(node.args[1])]
        sources = [self.at.get(source) for source in node.all_input_nodes if source not in self.static]
        read = [source.output if isinstance(source, Tuple) else source for source in sources]
        if any(isinstance(source, str) for source in read):
            if name in ("squeeze",) and self.value(node.args[1:]) == (0,) and self.shaped(first)[:1] == (1,):
                return self.last_step(node, node.args[0])
            return self.refuse(
                node, [], str(name), "it reads the state of a recurrent layer", "use the layer's output"
            )
        for names, handler in FUNCTIONS:
            if node.target in names:
                return handler(self, node, [int(r) for r in read if isinstance(r, int)])
        return self.refuse(
            node,
            [int(r) for r in read if isinstance(r, int)],
            str(name),
            "Loom has no such operation",
            "use layers, activations, reshapes and additions",
        )

    def refuse(self, node: fx.Node, read: Sequence[int], cls: str, why: str, instead: str) -> int:
        return self.graph.refuse(read, self.shape(node), self.where(node), cls, why, instead)

    def fresh(self, node: fx.Node) -> None:
        """A tensor that was written into behind this use's back is not what the graph says."""
        if node in self.stale:
            why = "it reads a tensor that has been changed in place since"
            self.graph.problem(
                self.where(node), str(node.target), why, "use operations that are not in place"
            )

    def add(self, node: fx.Node, op: Any, read: Sequence[int], cls: str) -> int:
        return self.graph.add(op, read, self.shape(node), self.where(node), cls)

    def item(self, node: fx.Node) -> Any:
        """One element of a layer's tuple: output, then state; of a state, the last step."""
        source, index = node.args[0], self.value(node.args[1])
        found = self.at[source]  # type: ignore[index]
        if isinstance(found, Tuple):
            return found.output if index == 0 else f"{found.state} of {source}"
        if index in (0, -1):
            if not found.startswith("state") and index == 0 and len(self.values[source]) != 1:  # type: ignore[index]
                return self.refuse(
                    node, [], "getitem", "it reads the state of a lower layer", "use the last one's"
                )
            if found.startswith("state"):
                return "hidden" if index == 0 else "cells"
            return self.last_step(node, source)
        return self.refuse(
            node, [], "getitem", "it reads the state of a recurrent layer", "use the layer's output"
        )

    def last_step(self, node: fx.Node, source: Any) -> Any:
        """The final hidden state of one recurrent layer, which is the last step of its output."""
        while isinstance(source, fx.Node) and not isinstance(self.at.get(source), Tuple):
            if self.at.get(source) == "cells":
                return self.refuse(
                    node, [], "getitem", "it reads the cells of an LSTM", "use the layer's output"
                )
            source = source.args[0]
        found = self.at[source]
        return self.add(node, View(lambda order: order[-1]), [found.output], "getitem")

    def module_call(self, node: fx.Node) -> Any:
        target = str(node.target)
        module = self.root.get_submodule(target)
        path, cls = (target, type(module).__name__) if not self.alone else ("(model)", self.alone)
        source = node.args[0] if node.args else None
        read = self.at.get(source) if isinstance(source, fx.Node) else None
        read = read.output if isinstance(read, Tuple) else read
        shape = self.shape(node)
        if not isinstance(read, int):
            return self.graph.refuse(
                (), shape, path, cls, "it does not read the model's tensor", "chain the layers"
            )
        result = self.stock(module, read, path, shape, node)
        # A refused module gives a tuple too, so that what follows is examined as ever.
        return (
            Tuple(result, "state")
            if isinstance(result, int) and isinstance(self.values[node], tuple)
            else result
        )

    def stock(
        self, module: nn.Module, read: int, path: str, shape: tuple[int, ...], node: fx.Node | None
    ) -> Any:
        """A module of torch.nn."""
        cls = type(module).__name__
        handler = MODULES.get(type(module))

        def no(why: str, instead: str) -> int:
            return self.graph.refuse([read], shape, path, cls, why, instead)

        if handler is None:
            return no("Loom has no such layer", _INSTEAD.get(type(module), REPLACE))
        if module._forward_hooks or module._forward_pre_hooks:
            return no("it has forward hooks, which may change what it computes", "remove the hooks")
        others = (
            []
            if node is None
            else [s for s in node.all_input_nodes if s not in self.static and s is not node.args[0]]
        )
        if others and not isinstance(module, nn.MultiheadAttention):
            return no("it reads a second tensor", "call it with one tensor")
        return handler(self, module, read, path, shape, node, no)

    def layer(self, op: Any, read: int, shape: Sequence[int], path: str, module: nn.Module) -> int:
        return self.graph.add(op, [read], shape, path, type(module).__name__)


No = Callable[[str, str], int]
REPLACE = "replace it by layers that Loom has, or absorb the model without it"
_INSTEAD: dict[type, str] = {
    nn.GRU: "use nn.LSTM or nn.RNN",
    nn.BatchNorm1d: "fold it into the layer before (torch.nn.utils.fusion.fuse_linear_bn_eval)",
    nn.BatchNorm2d: "fold it into the convolution (torch.nn.utils.fusion.fuse_conv_bn_eval)",
    nn.BatchNorm3d: "fold it into the convolution (torch.nn.utils.fusion.fuse_conv_bn_eval)",
    nn.MaxPool1d: "use a convolution with a stride",
    nn.MaxPool2d: "use a convolution with a stride",
    nn.LogSoftmax: "end in nn.Softmax(-1), or without it",
}


def _linear(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    arrays = roles(naming.linear(path, m))
    return walk.layer(
        dense(arrays["weight"], arrays.get("bias"), m.in_features, m.out_features), read, shape, path, m
    )


def _conv(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    rank = len(m.kernel_size)
    wrong = []
    if len(walk.graph.shape(read)) != rank + 1:
        wrong.append("its input has no batch axis")
    if len(set(m.kernel_size)) != 1:
        wrong.append(f"its kernel is {tuple(m.kernel_size)}")
    if len(set(m.stride)) != 1:
        wrong.append(f"its stride is {tuple(m.stride)}")
    if set(m.dilation) != {1}:
        wrong.append(f"its dilation is {tuple(m.dilation)}")
    if m.groups != 1:
        wrong.append(f"it has {m.groups} groups")
    if m.padding_mode != "zeros":
        wrong.append(f"its padding mode is {m.padding_mode!r}")
    if wrong:
        return no(
            " and ".join(wrong),
            "use one kernel size and stride for all axes, without dilation and groups, padded with zeros",
        )
    extents = walk.graph.shape(read)[-rank:]
    if m.padding == "same":
        padding = same_padding(extents, m.kernel_size[0], 1)
    else:
        sizes = (0,) * rank if m.padding == "valid" else m.padding
        padding = tuple((n, n) for n in sizes)
        if len(set(sizes)) != 1:
            return no(f"its padding is {tuple(sizes)}", "pad every axis alike")
    op = Conv(m.out_channels, m.kernel_size[0], m.stride[0], padding, 0, roles(naming.linear(path, m)))
    return walk.layer(op, read, shape, path, m)


def _norm(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    arrays = roles(naming.norm(path, m))
    kind = "layernorm" if isinstance(m, nn.LayerNorm) else "rmsnorm"
    # nn.RMSNorm without an eps takes that of its input's type.
    eps = m.eps if m.eps is not None else torch.finfo(torch.float32).eps
    op = norm(kind, int(np.prod(m.normalized_shape)), eps, arrays.get("gamma"), arrays.get("beta"))
    return walk.layer(op, read, shape, path, m)


def _embedding(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    if m.max_norm is not None:
        return no("max_norm changes its rows when they are read", "leave max_norm out")
    if m.num_embeddings > 1 << 24:
        return no("float32 cannot name that many rows", "use at most 16777216 rows")
    config = {"vocab_size": m.num_embeddings, "embedding_dim": m.embedding_dim}
    return walk.layer(Layer("embedding", config, roles(naming.embedding(path, m))), read, shape, path, m)


def _recurrent(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> Any:
    wrong = []
    if m.bidirectional:
        wrong.append("it runs in both directions")
    if not m.batch_first:
        wrong.append("its batch is the second axis")
    if getattr(m, "proj_size", 0):
        wrong.append("its outputs are projected")
    if isinstance(m, nn.RNN) and m.nonlinearity != "tanh":
        wrong.append(f"its nonlinearity is {m.nonlinearity}")
    if node is not None and len(node.args) + len(node.kwargs) > 1:
        wrong.append("it is given an initial state")
    if wrong:
        return no(
            ", ".join(wrong), "use one direction, batch_first=True, tanh, no projection and a zero start"
        )
    kind, size = ("lstm" if isinstance(m, nn.LSTM) else "rnn"), m.input_size
    for layer in range(m.num_layers):
        config = {"input_size": size, "hidden_size": m.hidden_size, "bias": m.bias}
        arrays = roles(naming.recurrent(path, m, layer))
        read, size = walk.layer(Layer(kind, config, arrays), read, shape, path, m), m.hidden_size
    # Of several layers the state has several rows; only the last one's is the output's last step.
    return Tuple(read, "state" if kind == "lstm" else "hidden")


def _mask(walk: _Walk, node: fx.Node | None, arguments: dict[str, Any], positions: int) -> str | None:
    """`causal` or `full`; None where a mask is something else."""
    if any(isinstance(a, fx.Node) and a not in walk.static for a in arguments.values()):
        return None
    values = {name: walk.value(a) for name, a in arguments.items()}
    if values.get("key_padding_mask") is not None:
        return None
    mask = values.get("attn_mask")
    if mask is None:
        return "full" if not values.get("is_causal") else None
    later = torch.ones(positions, positions).triu(1).bool()
    barred = mask if mask.dtype == torch.bool else torch.isneginf(mask)
    if tuple(barred.shape) != (positions, positions):
        return None
    if mask.dtype != torch.bool and not bool((mask[~barred] == 0).all()):
        return None
    if not bool(barred.any()):
        return "full"
    return CAUSAL if bool((barred.cpu() == later).all()) else None


def _attention(
    walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No, masked: str | None = None
) -> Any:
    wrong = []
    if not m.batch_first:
        wrong.append("its batch is the second axis (batch_first=True)")
    if not m._qkv_same_embed_dim:
        wrong.append("keys and values have sizes of their own")
    if m.bias_k is not None or m.bias_v is not None or m.add_zero_attn:
        wrong.append("it adds positions to keys and values")
    if masked is None and node is not None:
        names = (
            "query",
            "key",
            "value",
            "key_padding_mask",
            "need_weights",
            "attn_mask",
            "average_attn_weights",
            "is_causal",
        )
        given = dict(zip(names, node.args)) | dict(node.kwargs)
        if any(given.get(name) is not given.get("query") for name in ("key", "value")):
            wrong.append("query, key and value are not one tensor")
        given = {
            name: given[name] for name in ("key_padding_mask", "attn_mask", "is_causal") if name in given
        }
        masked = _mask(walk, node, given, walk.graph.shape(read)[0])
        if masked is None:
            wrong.append("its mask is neither absent nor causal")
    if wrong:
        return no(", ".join(wrong), "use self-attention with batch_first=True and no mask or a causal one")
    arrays = {}
    for name, part in zip("qkv", np.split(to_array(m.in_proj_weight), 3)):
        arrays[f"{name}_weight"] = part
    if m.in_proj_bias is not None:
        for name, part in zip("qkv", np.split(to_array(m.in_proj_bias), 3)):
            arrays[f"{name}_bias"] = part
    arrays |= {f"o_{role}": a for role, a in roles(naming.linear(path, m.out_proj)).items()}
    op = attention(m.embed_dim, m.num_heads, m.head_dim, masked == CAUSAL, arrays)
    return Tuple(walk.layer(op, read, walk.graph.shape(read), path, m), "weights")


def _encoder_layer(
    walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No, masked: str | None = None
) -> Any:
    if masked is None:
        masked = _encoder_mask(walk, node, "src_mask", walk.graph.shape(read)[0])
    if masked is None:
        return no("its mask is neither absent nor causal", "give no mask or a causal one")
    activation: Any = _ACTIVATION_FUNCTIONS.get(m.activation)
    if isinstance(m.activation, nn.Module):
        activation = _activation_of(m.activation)
    if activation is None or activation == "erf":
        return no(
            EXACT_GELU if activation == "erf" or m.activation is F.gelu else "its activation is not Loom's",
            "use relu, or gelu with approximate='tanh'",
        )

    def attend(x: int) -> int:
        def inner(why: str, instead: str) -> int:
            return walk.graph.refuse([x], shape, f"{path}.self_attn", "MultiheadAttention", why, instead)

        found = _attention(walk, m.self_attn, x, f"{path}.self_attn", shape, None, inner, masked)
        return found.output if isinstance(found, Tuple) else int(found)

    def feed(x: int) -> int:
        for name, part in (("linear1", m.linear1), ("linear2", m.linear2)):
            wide = (*shape[:-1], part.out_features)
            x = int(walk.stock(part, x, f"{path}.{name}", wide, None))
            if name == "linear1":
                x = walk.layer(Activation(activation), x, wide, path, m)
        return x

    def normed(name: str, x: int) -> int:
        return int(walk.stock(getattr(m, name), x, f"{path}.{name}", shape, None))

    def plus(x: int, y: int) -> int:
        return walk.graph.add(Add(), [x, y], shape, path, type(m).__name__)

    if m.norm_first:
        read = plus(read, attend(normed("norm1", read)))
        return plus(read, feed(normed("norm2", read)))
    read = normed("norm1", plus(read, attend(read)))
    return normed("norm2", plus(read, feed(read)))


def _encoder_mask(walk: _Walk, node: fx.Node | None, name: str, positions: int) -> str | None:
    if node is None:
        return "full"
    names = ("src", name, "src_key_padding_mask", "is_causal")
    given = dict(zip(names, node.args)) | dict(node.kwargs)
    renamed = {
        "attn_mask": given.get(name),
        "key_padding_mask": given.get("src_key_padding_mask"),
        "is_causal": given.get("is_causal") or False,
    }
    return _mask(walk, node, renamed, positions)


def _encoder(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> Any:
    masked = _encoder_mask(walk, node, "mask", walk.graph.shape(read)[0])
    if masked is None:
        return no("its mask is neither absent nor causal", "give no mask or a causal one")
    for i, part in enumerate(m.layers):
        where = f"{path}.layers.{i}"
        if type(part) is not nn.TransformerEncoderLayer:
            return walk.graph.refuse(
                [read], shape, where, type(part).__name__, "it is no stock encoder layer", REPLACE
            )

        def inner(why: str, instead: str, read: int = read, where: str = where) -> int:
            return walk.graph.refuse([read], shape, where, "TransformerEncoderLayer", why, instead)

        read = _encoder_layer(walk, part, read, where, shape, None, inner, masked)
    return read if m.norm is None else walk.stock(m.norm, read, f"{path}.norm", shape, None)


def _activation_of(m: nn.Module) -> str | None:
    """Loom's name of an activation module; `erf` for the exact GELU."""
    if isinstance(m, nn.GELU):
        return "gelu" if m.approximate == "tanh" else "erf"
    if isinstance(m, nn.LeakyReLU):
        return "leaky_relu" if m.negative_slope == 0.01 else None
    return {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu"}.get(type(m))


def _activate(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    name = _activation_of(m)
    if name is None:
        return no(f"its slope is {m.negative_slope}", "Loom's leaky ReLU has the slope 0.01")
    if name == "erf":
        return no(EXACT_GELU, "use nn.GELU(approximate='tanh')")
    return walk.layer(Activation(name), read, shape, path, m)


def _softmax(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    if m.dim not in (-1, len(shape)):
        return no(f"it runs over axis {m.dim}", "use the last axis, dim=-1")
    return walk.layer(Softmax(), read, shape, path, m)


def _reshape(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    value = walk.values.get(node)
    if not isinstance(value, torch.Tensor) or value.shape[0] != walk.batch:
        return no("it mixes samples of a batch", "keep the first axis")
    return walk.layer(View(lambda order: order.reshape(shape), flat=True), read, shape, path, m)


def _identity(walk: _Walk, m: Any, read: int, path: str, shape: Any, node: Any, no: No) -> int:
    return read


Handler = Callable[..., Any]
MODULES: dict[type, Handler] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nn.Embedding: _embedding,
    nn.LSTM: _recurrent,
    nn.RNN: _recurrent,
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerEncoder: _encoder,
    nn.ReLU: _activate,
    nn.Tanh: _activate,
    nn.Sigmoid: _activate,
    nn.SiLU: _activate,
    nn.GELU: _activate,
    nn.LeakyReLU: _activate,
    nn.Softmax: _softmax,
    nn.Flatten: _reshape,
    nn.Unflatten: _reshape,
    nn.Identity: _identity,
    nn.Dropout: _identity,
    nn.Dropout1d: _identity,
    nn.Dropout2d: _identity,
    nn.Dropout3d: _identity,
    nn.AlphaDropout: _identity,
}

_ACTIVATION_FUNCTIONS: dict[Any, str] = {
    F.relu: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    "relu": "relu",
    "relu_": "relu",
    F.tanh: "tanh",
    torch.tanh: "tanh",
    "tanh": "tanh",
    F.sigmoid: "sigmoid",
    torch.sigmoid: "sigmoid",
    "sigmoid": "sigmoid",
    F.silu: "silu",
}


def _f_activation(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    name = _ACTIVATION_FUNCTIONS[node.target]
    return walk.add(node, Activation(name), read, name)


def _f_gelu(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    if node.kwargs.get("approximate", "none") != "tanh":
        return walk.refuse(node, read, "gelu", EXACT_GELU, "use approximate='tanh'")
    return walk.add(node, Activation("gelu"), read, "gelu")


def _f_leaky(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    slope = node.kwargs.get("negative_slope", node.args[1] if len(node.args) > 1 else 0.01)
    if slope != 0.01:
        return walk.refuse(
            node, read, "leaky_relu", f"its slope is {slope}", "Loom's leaky ReLU has the slope 0.01"
        )
    return walk.add(node, Activation("leaky_relu"), read, "leaky_relu")


def _f_dropout(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    given = dict(zip(("input", "p", "training", "inplace"), node.args)) | dict(node.kwargs)
    if walk.value(given.get("training", True)):
        return walk.refuse(node, read, "dropout", "it drops in evaluation too", "pass training=self.training")
    return read[0]


def _f_reshape(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    shape = walk.shape(node)
    if walk.values[node].shape[:1] != (walk.batch,):
        return walk.refuse(node, read, str(node.target), "it mixes samples of a batch", "keep the first axis")
    return walk.add(node, View(lambda order: order.reshape(shape), flat=True), read, "reshape")


def _f_same(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    if node.target in ("long", "int") and read[0] != 0:
        return walk.refuse(
            node, read, str(node.target), "it cuts numbers off", "use whole numbers as inputs only"
        )
    return read[0]


def _f_permute(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    rank = len(walk.graph.shape(read[0])) + 1
    given = walk.value(node.args[1:])
    if node.target in ("permute", torch.permute):
        axes = list(given[0] if given and isinstance(given[0], (tuple, list)) else given)
        axes = [a % rank for a in axes]
    else:
        axes = list(range(rank))
        a, b = (x % rank for x in given)
        axes[a], axes[b] = b, a
    if len(axes) != rank or axes[0] != 0:
        return walk.refuse(node, read, "permute", "it moves the batch axis", "keep the first axis")
    inner = [a - 1 for a in axes[1:]]
    return walk.add(node, View(lambda order: order.transpose(inner)), read, "permute")


def _f_getitem(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    index = walk.value(node.args[1])
    index = index if isinstance(index, tuple) else (index,)
    plain = all(isinstance(i, (int, slice)) or i is Ellipsis or i is None for i in index)
    if not plain or index[0] != slice(None):
        return walk.refuse(
            node, read, "getitem", "it selects samples, or by a tensor", "index other axes by numbers"
        )
    return walk.add(node, View(lambda order: order[index[1:]]), read, "getitem")


def _f_add(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    if len(read) == 1 and node.args[0] is node.args[1]:
        read = read * 2
    if node.kwargs.get("alpha", 1) != 1 or len(node.args) != 2:
        return walk.refuse(node, read, "add", "alpha scales one side", "add without alpha")
    if len(read) != 2:
        return walk.refuse(node, read, "add", "it adds a constant", "let a bias of a layer hold it")
    if any(walk.graph.shape(r) != walk.shape(node) for r in read):
        return walk.refuse(
            node, read, "add", "it adds tensors of different shapes", "add tensors of one shape"
        )
    return walk.add(node, Add(), read, "add")


def _f_mul(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    if len(read) == 2:
        return walk.add(node, Mul(), read, "mul")
    constants = [walk.value(a) for a in node.args if not (isinstance(a, fx.Node) and a in walk.at)]
    if len(constants) == 1 and isinstance(constants[0], (int, float)):
        return walk.add(node, Scale(float(constants[0])), read, "mul")
    return walk.refuse(
        node, read, "mul", "it multiplies by a tensor that is not a layer's", "use a norm or dense layer"
    )


def _f_softmax(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    dim = walk.value(node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None))
    if dim not in (-1, len(walk.shape(node))):
        return walk.refuse(node, read, "softmax", f"it runs over axis {dim}", "use the last axis, dim=-1")
    return walk.add(node, Softmax(), read, "softmax")


def _f_linear(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    given = dict(zip(("input", "weight", "bias"), node.args)) | dict(node.kwargs)
    weight, bias = walk.value(given["weight"]), walk.value(given.get("bias"))
    if len(read) != 1 or given["weight"] not in walk.static or weight.dtype != torch.float32:
        return walk.refuse(
            node, read, "linear", "its matrix is computed or not float32", "use nn.Linear in float32"
        )
    op = dense(to_array(weight), None if bias is None else to_array(bias), weight.shape[1], weight.shape[0])
    return walk.add(node, op, read, "linear")


def _f_attend(walk: _Walk, node: fx.Node, read: list[int]) -> int:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given: dict[str, Any] = dict(zip(names, node.args)) | dict(node.kwargs)
    cls = "scaled_dot_product_attention"
    if len(read) != 3 or walk.value(given.get("dropout_p", 0.0)) or given.get("scale") is not None:
        why = "it drops, is scaled otherwise, or does not read queries, keys and values of the model"
        return walk.refuse(node, read, cls, why, "use it plainly")
    masked = (
        CAUSAL
        if given.get("is_causal")
        else _mask(walk, node, {"attn_mask": given.get("attn_mask")}, walk.shape(node)[-2])
    )
    if masked is None or (given.get("is_causal") and given.get("attn_mask") is not None):
        return walk.refuse(
            node, read, cls, "its mask is neither absent nor causal", "give no mask or a causal one"
        )
    ordered = [walk.at[given[name]] for name in ("query", "key", "value")]
    return walk.add(node, Attend(masked == CAUSAL), ordered, cls)


def _f_split(walk: _Walk, node: fx.Node, read: list[int]) -> Any:
    """Equal or named pieces of the last axis, each a view."""
    source, axis = walk.graph.shape(read[0]), None
    pieces = walk.values[node]
    given: dict[str, Any] = dict(zip(("input", "size", "dim"), node.args)) | dict(node.kwargs)
    axis = walk.value(given.get("dim", 0))
    if axis not in (-1, len(source)):
        return walk.refuse(node, read, "split", f"it splits axis {axis}", "split the last axis, dim=-1")
    found, start = [], 0
    for piece in pieces:
        part = slice(start, start + piece.shape[-1])
        view = View(lambda order, part=part: order[..., part])  # type: ignore[misc]
        found.append(walk.graph.add(view, read, piece.shape[1:], walk.where(node), "split"))
        start = part.stop
    return found


FUNCTIONS: list[tuple[tuple[Any, ...], Callable[[_Walk, fx.Node, list[int]], Any]]] = [
    (tuple(_ACTIVATION_FUNCTIONS), _f_activation),
    ((F.gelu,), _f_gelu),
    ((F.leaky_relu,), _f_leaky),
    ((F.dropout,), _f_dropout),
    (
        (
            "view",
            "reshape",
            "flatten",
            "unflatten",
            "squeeze",
            "unsqueeze",
            torch.flatten,
            torch.reshape,
            torch.squeeze,
            torch.unsqueeze,
        ),
        _f_reshape,
    ),
    (("contiguous", "clone", "float", "long", "int", torch.clone), _f_same),
    (("permute", "transpose", torch.permute, torch.transpose, "swapaxes"), _f_permute),
    ((operator.getitem,), _f_getitem),
    ((operator.add, operator.iadd, torch.add, "add", "add_"), _f_add),
    ((operator.mul, operator.imul, torch.mul, "mul"), _f_mul),
    ((F.softmax, torch.softmax, "softmax"), _f_softmax),
    ((F.linear,), _f_linear),
    ((F.scaled_dot_product_attention,), _f_attend),
    (("split", "chunk", torch.split, torch.chunk), _f_split),
]


def chain(net: nn.Module) -> list[tuple[str, dict[str, Array]]]:
    """The nn.Linear modules in the order of the module tree, with their arrays by role."""
    return [
        (name, roles(naming.linear(name, m))) for name, m in net.named_modules() if isinstance(m, nn.Linear)
    ]
