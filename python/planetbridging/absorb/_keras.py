"""Keras 3: a live model as a graph, by calling it on a symbolic tensor and walking what that records.

Keras keeps its kernels `[in, out]` and its pictures channels last; what that means for a flattened
picture is worked out in `mapping`.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Sequence

import keras
import numpy as np

from ..planets.naming import tensorflow as naming
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
    Pad,
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

LAYOUT = Layout("tensorflow", in_axis=0)
L = keras.layers
REPLACE = "replace it by layers that Loom has, or absorb the model without it"


def to_array(variable: Any) -> Array:
    """A variable as a numpy array."""
    found: Array = np.asarray(keras.ops.convert_to_numpy(variable))
    return found


def roles(named: naming.Named) -> dict[str, Array]:
    """Arrays by the last part of their names."""
    return {name.rsplit(".", 1)[1]: to_array(variable) for name, variable in named}


def forward(net: Any) -> Callable[[Array], Array]:
    """The framework's own forward, in inference mode."""

    def run(inputs: Array) -> Array:
        rows = np.asarray(inputs)
        found = net(rows.astype("int32" if rows.dtype.kind in "iu" else "float32"), training=False)
        found = found[0] if isinstance(found, (tuple, list)) else found
        return to_array(found)

    return run


def to_layers(net: Any, inputs: Array | None, shape: Sequence[int] | None) -> Mapped:
    """The model in Loom's layers."""
    kind = "float32"
    if inputs is not None:
        shape, kind = inputs.shape[1:], "int32" if inputs.dtype.kind in "iu" else "float32"
    elif shape is None:
        known = getattr(net, "input_shape", None) if getattr(net, "built", False) else None
        if not isinstance(known, tuple) or None in known[1:]:
            raise ValueError(
                "the input's shape is not known: give inputs= or input_shape= (without the batch)"
            )
        shape = known[1:]
    walk = _Walk(Graph.of(shape))
    entry = keras.Input(tuple(shape), dtype=kind)
    outputs = walk.trace(net, entry)
    if isinstance(outputs, dict) or (isinstance(outputs, (tuple, list)) and len(outputs) != 1):
        many = f"it has {len(outputs)} outputs"
        walk.graph.problem("(model)", type(net).__name__, many, "absorb a model of one output")
        outputs = None
    if outputs is None:
        raise UnmappableModel(walk.graph.problems)
    walk.at[id(entry)] = 0
    return lower(walk.graph, walk.follow(entry, outputs, ""), LAYOUT)


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


class _Walk:
    """Turns recorded operations into graph nodes."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.at: dict[int, int] = {}
        self.kept: list[Any] = []

    def trace(self, layer: Any, entry: Any) -> Any:
        """What a model's or a layer's own `call` does to a symbolic tensor, or None."""
        options = {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
        try:
            return layer.call(entry, **options)
        except Exception as error:  # whatever a user's call raises on tensors without values
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.graph.problem(
                getattr(layer, "name", ""),
                type(layer).__name__,
                f"its call cannot be traced: {lines[0]}",
                "write call without branches on tensors",
            )
            return None

    def follow(self, entry: Any, outputs: Any, prefix: str) -> int:
        """The node of the output that is computed from `entry`, whose node is known."""
        output = _first(outputs)
        if output is entry:
            return self.at[id(entry)]
        try:
            function = keras.Function(entry, output)
        except ValueError as error:
            return self.graph.refuse(
                (),
                output.shape[1:],
                prefix,
                "output",
                f"it is not computed from the input alone: {str(error).splitlines()[0]}",
                "absorb a model of one input",
            )
        self.kept += [function, entry, outputs]
        for depth in sorted(function._nodes_by_depth, reverse=True):
            for node in function._nodes_by_depth[depth]:
                if not node.is_input:
                    self.node(node, prefix)
        return self.at[id(output)]

    def node(self, node: Any, prefix: str) -> None:
        op = node.operation
        name = getattr(op, "name", type(op).__name__)
        call = _Call(self, node, op, f"{prefix}{name}")
        self.at[id(node.output_tensors[0])] = call.run()


class _Call:
    """One recorded operation: what it is and what it reads."""

    def __init__(self, walk: _Walk, node: Any, op: Any, path: str):
        self.walk, self.graph, self.op, self.path = walk, walk.graph, op, path
        self.cls = type(op).__name__
        self.tensors = list(node.input_tensors)
        self.arguments, self.options = list(node.arguments.args), dict(node.arguments.kwargs)
        self.read = [walk.at[id(t)] for t in self.tensors if id(t) in walk.at]
        self.shape = tuple(node.output_tensors[0].shape[1:])

    def no(self, why: str, instead: str) -> int:
        return self.graph.refuse(self.read, self.shape, self.path, self.cls, why, instead)

    def add(self, op: Any, read: int | None = None, shape: Sequence[int] | None = None) -> int:
        source = self.read if read is None else [read]
        return self.graph.add(op, source, self.shape if shape is None else shape, self.path, self.cls)

    def run(self) -> int:
        if len(self.read) != len(self.tensors) or not self.read:
            return self.no("it reads a state, or nothing of the model", "use the layer's output")
        if None in self.shape:
            return self.no("its shape is not known", "give inputs=")
        handler = LAYERS.get(type(self.op))
        if handler is not None:
            policy = getattr(self.op, "dtype_policy", None)
            if policy is not None and (policy.compute_dtype, policy.variable_dtype) != ("float32", "float32"):
                return self.no(f"its policy is {policy.name}", "use float32")
            if len(set(self.read)) > 1 and not isinstance(self.op, (L.Add, L.Multiply, L.MultiHeadAttention)):
                return self.no("it reads a second tensor", "call it with one tensor")
            if any(_masked(t) for t in self.tensors):
                return self.no("a mask reaches it", "use no Masking and no mask_zero")
            return handler(self)
        module = type(self.op).__module__
        if module.startswith("keras.src.ops") or module.startswith("keras.src.activations"):
            function = OPERATIONS.get(self.cls)
            return (
                function(self)
                if function
                else self.no("Loom has no such operation", "use layers, activations, reshapes and additions")
            )
        if isinstance(self.op, (keras.Model, keras.Sequential)) or not module.startswith("keras."):
            return self.inside()
        return self.no("Loom has no such layer", _INSTEAD.get(self.cls, REPLACE))

    def inside(self) -> int:
        """The layers of a model or of a user's own layer."""
        if len(self.read) != 1:
            return self.no("it reads several tensors", "call it with one tensor")
        return self.traced(lambda entry: self.walk.trace(self.op, entry))

    def traced(self, call: Callable[[Any], Any], read: int | None = None, kind: str | None = None) -> int:
        source = self.read[0] if read is None else read
        entry = keras.Input(self.graph.shape(source), dtype=kind or self.tensors[0].dtype)
        outputs = call(entry)
        if outputs is None:
            return self.graph.add(Activation("linear"), [source], self.shape, self.path, self.cls)
        self.walk.at[id(entry)] = source
        return self.walk.follow(entry, outputs, f"{self.path}.")

    def activated(self, read: int) -> int:
        """The activation that a layer applies to its own output."""
        function = self.op.activation
        shape = self.graph.shape(read)
        if function is None or function is keras.activations.linear:
            return read
        if function is keras.activations.softmax:
            return self.add(Softmax(), read, shape)
        if function is keras.activations.gelu:
            return self.refused(read, EXACT_GELU, "use lambda x: keras.activations.gelu(x, approximate=True)")
        name = _ACTIVATIONS.get(function)
        if name is not None:
            return self.add(Activation(name), read, shape)
        try:
            return self.traced(function, read, "float32")
        except Exception as error:  # whatever a user's function raises on tensors without values
            return self.refused(
                read, f"its activation cannot be traced: {error}", "use an activation of Keras"
            )

    def refused(self, read: int, why: str, instead: str) -> int:
        return self.graph.refuse([read], self.graph.shape(read), self.path, self.cls, why, instead)


def _masked(tensor: Any) -> bool:
    return getattr(tensor, "_keras_mask", None) is not None


_ACTIVATIONS = {
    keras.activations.relu: "relu",
    keras.activations.tanh: "tanh",
    keras.activations.sigmoid: "sigmoid",
    keras.activations.silu: "silu",
}
_INSTEAD = {
    "GRU": "use LSTM or SimpleRNN",
    "BatchNormalization": "fold it into the layer before",
    "TimeDistributed": "call the Dense layer itself, which acts on the last axis",
    "MaxPooling1D": "use a convolution with a stride",
    "MaxPooling2D": "use a convolution with a stride",
}


def _dense(call: _Call) -> int:
    layer = call.op
    if layer.lora_enabled or getattr(layer, "quantization_mode", None):
        return call.no("its kernel is adapted or quantized", "merge the adapter and use float32")
    arrays = roles(naming.kernel(call.path, layer))
    width, units = arrays["weight"].shape
    return call.activated(call.add(dense(arrays["weight"], arrays.get("bias"), width, units)))


def _conv(call: _Call) -> int:
    layer = call.op
    wrong = []
    if len(set(layer.kernel_size)) != 1:
        wrong.append(f"its kernel is {layer.kernel_size}")
    if len(set(layer.strides)) != 1:
        wrong.append(f"its stride is {layer.strides}")
    if set(layer.dilation_rate) != {1}:
        wrong.append(f"its dilation is {layer.dilation_rate}")
    if layer.groups != 1:
        wrong.append(f"it has {layer.groups} groups")
    if getattr(layer, "lora_enabled", False):
        wrong.append("its kernel is adapted")
    if wrong:
        return call.no(
            " and ".join(wrong), "use one kernel size and stride for all axes, without dilation and groups"
        )
    kernel, stride, last = layer.kernel_size[0], layer.strides[0], layer.data_format == "channels_last"
    shape = call.graph.shape(call.read[0])
    extents = shape[:-1] if last else shape[1:]
    padding: tuple[tuple[int, int], ...] = ((0, 0),) * len(extents)
    if layer.padding == "same":
        padding = same_padding(extents, kernel, stride)
    elif layer.padding == "causal":
        padding = ((kernel - 1, 0),)
    op = Conv(
        layer.filters, kernel, stride, padding, -1 if last else 0, roles(naming.kernel(call.path, layer))
    )
    return call.activated(call.add(op))


def _pad(call: _Call) -> int:
    layer = call.op
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return call.no("its channels are the first axis", "use data_format='channels_last'")
    padding = layer.padding if isinstance(layer.padding[0], (tuple, list)) else (layer.padding,)
    return call.add(Pad(tuple((int(a), int(b)) for a, b in padding)))


def _layernorm(call: _Call) -> int:
    layer = call.op
    axis = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axis) not in ([-1], [len(call.shape)]):
        return call.no(f"it runs over axis {layer.axis}", "use axis=-1")
    if getattr(layer, "rms_scaling", False):
        return call.no("rms_scaling makes it neither a layer norm nor an RMS norm", "use RMSNormalization")
    arrays = roles(naming.layernorm(call.path, layer))
    return call.add(norm("layernorm", call.shape[-1], layer.epsilon, arrays.get("gamma"), arrays.get("beta")))


def _rmsnorm(call: _Call) -> int:
    layer = call.op
    axis = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axis) not in ([-1], [len(call.shape)]):
        return call.no(f"it runs over axis {layer.axis}", "use axis=-1")
    arrays = roles(naming.rmsnorm(f"{call.path}.gamma", layer))
    return call.add(norm("rmsnorm", call.shape[-1], layer.epsilon, arrays["gamma"]))


def _embedding(call: _Call) -> int:
    layer = call.op
    if layer.mask_zero:
        return call.no("mask_zero hides steps from the layers behind it", "use mask_zero=False")
    if layer.input_dim > 1 << 24:
        return call.no("float32 cannot name that many rows", "use at most 16777216 rows")
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return call.no("its table is adapted or quantized", "merge the adapter and use float32")
    config = {"vocab_size": layer.input_dim, "embedding_dim": layer.output_dim}
    return call.add(Layer("embedding", config, roles(naming.embedding(call.path, layer))))


def _recurrent(call: _Call) -> int:
    layer, cell = call.op, call.op.cell
    kind = "lstm" if isinstance(layer, L.LSTM) else "rnn"
    wrong = []
    if cell.activation is not keras.activations.tanh:
        wrong.append("its activation is not tanh")
    if kind == "lstm" and cell.recurrent_activation is not keras.activations.sigmoid:
        wrong.append("its recurrent activation is not sigmoid")
    if layer.go_backwards:
        wrong.append("it goes backwards")
    if layer.stateful:
        wrong.append("it keeps its state between calls")
    if wrong:
        return call.no(", ".join(wrong), "use tanh and sigmoid, forwards, from a zero state")
    steps, features = call.graph.shape(call.read[0])
    config = {"input_size": features, "hidden_size": layer.units, "bias": cell.use_bias}
    whole = call.add(
        Layer(kind, config, roles(naming.recurrent(call.path, layer))), shape=(steps, layer.units)
    )
    return whole if layer.return_sequences else call.add(View(lambda order: order[-1]), whole, (layer.units,))


def _attention(call: _Call) -> int:
    layer = call.op
    wrong = []
    if len(set(call.read)) != 1:
        wrong.append("query, key and value are not one tensor, or there is a mask")
    for name in ("attention_mask", "query_mask", "value_mask", "key_mask"):
        if call.options.get(name) is not None:
            wrong.append(f"it is given {name}")
    if call.options.get("return_attention_scores"):
        wrong.append("it returns scores")
    heads, width, value = layer._num_heads, layer._key_dim, layer._value_dim
    d_model = call.graph.shape(call.read[0])[-1]
    if width != value:
        wrong.append(f"its key_dim {width} is not its value_dim {value}")
    if call.shape[-1] != d_model:
        wrong.append(f"it writes {call.shape[-1]} features and reads {d_model}")
    if len(call.shape) != 2:
        wrong.append("it attends over several axes")
    if wrong:
        return call.no(
            ", ".join(wrong), "use self-attention, key_dim == value_dim, use_causal_mask=True or no mask"
        )
    arrays: dict[str, Array] = {}
    for name, part in (("q", layer._query_dense), ("k", layer._key_dense), ("v", layer._value_dense)):
        # Kernels are [in, heads, features]: the heads side by side are the matrix's columns.
        arrays[f"{name}_weight"] = to_array(part.kernel).reshape(d_model, -1)
        if part.bias is not None:
            arrays[f"{name}_bias"] = to_array(part.bias).reshape(-1)
    arrays["o_weight"] = to_array(layer._output_dense.kernel).reshape(-1, d_model)
    if layer._output_dense.bias is not None:
        arrays["o_bias"] = to_array(layer._output_dense.bias)
    causal = bool(call.options.get("use_causal_mask", False))
    return call.add(attention(d_model, heads, width, causal, arrays), call.read[0])


def _activation(call: _Call) -> int:
    return call.activated(call.read[0])


def _relu(call: _Call) -> int:
    layer = call.op
    if layer.max_value is not None or layer.threshold or layer.negative_slope not in (0, 0.01):
        return call.no("it is capped, shifted or sloped", "use ReLU() or LeakyReLU(0.01)")
    return call.add(Activation("leaky_relu" if layer.negative_slope else "relu"))


def _leaky(call: _Call) -> int:
    slope = float(call.op.negative_slope)
    if slope != 0.01:
        return call.no(f"its slope is {slope}", "Loom's leaky ReLU has the slope 0.01")
    return call.add(Activation("leaky_relu"))


def _softmax(call: _Call) -> int:
    if call.op.axis not in (-1, len(call.shape)):
        return call.no(f"it runs over axis {call.op.axis}", "use axis=-1")
    return call.add(Softmax())


def _reshape(call: _Call) -> int:
    shape = call.shape
    if call.op.__class__.__name__ == "Flatten" and getattr(call.op, "data_format", "") == "channels_first":
        return call.no("it moves the channels", "use data_format='channels_last'")
    return call.add(View(lambda order: order.reshape(shape), flat=True))


def _permute(call: _Call) -> int:
    axes = [d - 1 for d in call.op.dims]
    return call.add(View(lambda order: order.transpose(axes)))


def _transpose(call: _Call) -> int:
    axes = call.op.axes
    if axes is None or axes[0] != 0:
        return call.no("it moves the batch axis", "keep the first axis")
    inner = [a - 1 for a in axes[1:]]
    return call.add(View(lambda order: order.transpose(inner)))


def _getitem(call: _Call) -> int:
    index = call.arguments[1] if len(call.arguments) > 1 else call.options.get("key")
    index = index if isinstance(index, tuple) else (index,)
    plain = all(isinstance(i, (int, slice)) or i is Ellipsis or i is None for i in index)
    if not plain or index[0] != slice(None):
        return call.no("it selects samples, or by a tensor", "index other axes by numbers")
    return call.add(View(lambda order: order[index[1:]]))


def _sum(call: _Call) -> int:
    if len(call.read) < 2:
        return call.no("it adds a constant", "let a bias of a layer hold it")
    if any(call.graph.shape(r) != call.shape for r in call.read):
        return call.no("it adds tensors of different shapes", "add tensors of one shape")
    total = call.read[0]
    for other in call.read[1:]:
        total = call.graph.add(Add(), [total, other], call.shape, call.path, call.cls)
    return total


def _product(call: _Call) -> int:
    if len(call.read) == 2:
        return call.add(Mul())
    numbers = [a for a in call.arguments if isinstance(a, (int, float))]
    if len(numbers) == 1 and len(call.read) == 1:
        return call.add(Scale(float(numbers[0])))
    return call.no("it multiplies by a tensor that is not a layer's", "use a norm or dense layer")


def _same(call: _Call) -> int:
    return call.read[0]


def _cast(call: _Call) -> int:
    kind = keras.backend.standardize_dtype(call.op.dtype or call.tensors[0].dtype)
    source = keras.backend.standardize_dtype(call.tensors[0].dtype)
    if kind != source and kind != "float32" and not (kind in ("int32", "int64") and call.read[0] == 0):
        return call.no(f"it casts {source} to {kind}", "use float32")
    return call.read[0]


def _gelu_op(call: _Call) -> int:
    if not call.op.approximate:
        return call.no(EXACT_GELU, "use approximate=True")
    return call.add(Activation("gelu"))


def _relu_op(call: _Call) -> int:
    if (
        getattr(call.op, "negative_slope", 0)
        or getattr(call.op, "max_value", None)
        or getattr(call.op, "threshold", 0)
    ):
        return call.no("it is capped, shifted or sloped", "use relu(x)")
    return call.add(Activation("relu"))


def _named(name: str) -> Callable[[_Call], int]:
    return lambda call: call.add(Activation(name))


LAYERS: dict[type, Callable[[_Call], int]] = {
    L.Dense: _dense,
    L.Conv1D: _conv,
    L.Conv2D: _conv,
    L.Conv3D: _conv,
    L.ZeroPadding1D: _pad,
    L.ZeroPadding2D: _pad,
    L.ZeroPadding3D: _pad,
    L.LayerNormalization: _layernorm,
    L.RMSNormalization: _rmsnorm,
    L.Embedding: _embedding,
    L.LSTM: _recurrent,
    L.SimpleRNN: _recurrent,
    L.MultiHeadAttention: _attention,
    L.Activation: _activation,
    L.ReLU: _relu,
    L.LeakyReLU: _leaky,
    L.Softmax: _softmax,
    L.Flatten: _reshape,
    L.Reshape: _reshape,
    L.Permute: _permute,
    L.Add: _sum,
    L.Multiply: _product,
    L.Dropout: _same,
    L.SpatialDropout1D: _same,
    L.SpatialDropout2D: _same,
    L.SpatialDropout3D: _same,
    L.GaussianNoise: _same,
    L.GaussianDropout: _same,
    L.Identity: _same,
}
OPERATIONS: dict[str, Callable[[_Call], int]] = {
    "ConvertToTensor": _cast,
    "Cast": _cast,
    "Add": _sum,
    "Multiply": _product,
    "Relu": _relu_op,
    "ReLU": _relu_op,
    "Silu": _named("silu"),
    "Tanh": _named("tanh"),
    "Sigmoid": _named("sigmoid"),
    "Gelu": _gelu_op,
    "LeakyRelu": _leaky,
    "Softmax": _softmax,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "ExpandDims": _reshape,
    "Transpose": _transpose,
    "GetItem": _getitem,
}


def chain(net: Any) -> list[tuple[str, dict[str, Array]]]:
    """The Dense layers in the order of the model, with their arrays by role."""
    return [
        (layer.name, roles(naming.kernel(layer.name, layer)))
        for layer in net._flatten_layers(include_self=False)
        if isinstance(layer, L.Dense)
    ]
