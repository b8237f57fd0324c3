"""A user's own live model becomes an `.entity`, with proof that Loom means the same.

`pytorch`, `keras`, `jax` and `sklearn` map a model by itself: its layers become Loom's, its arrays
keep the framework's own layout and are relaid by `loom-stream`. With `inputs` the framework's own
forward and Loom run on the same float32 numbers and the result says how far they are apart. What
cannot be mapped is refused with every place named (`UnmappableModel`), and nothing is written.

With `layer_specs` or `layer_units` the call is that of the original bridge: a dense chain, the
weights taken from the model's dense layers in order, each with the activation that the caller
claims, the last one included. Whether the model's forward applies those activations cannot be seen
there; only the comparison shows it.
"""

from __future__ import annotations

import importlib
import os
from math import prod
from typing import Any, Callable, Sequence

import numpy as np

from ..layers import LayerSpec
from ..results import StreamResult
from . import graph as graphs
from . import mapping, proof
from .graph import ACTIVATIONS, Array, Problem, UnmappableModel

__all__ = [
    "LayerSpec",
    "Problem",
    "StreamResult",
    "UnmappableModel",
    "jax",
    "keras",
    "pytorch",
    "sklearn",
    "stream",
    "stream_all_bedrocks",
    "stream_all_planets",
]

PathLike = str | os.PathLike[str]
Chain = list[tuple[str, dict[str, Array]]]


def pytorch(
    net: Any,
    *,
    planet: str = "pytorch",
    model_id: str = "model",
    input_dim: int | None = None,
    input_shape: Sequence[int] | None = None,
    layer_specs: Sequence[LayerSpec] | None = None,
    layer_units: Sequence[int] | None = None,
    activation: str = "relu",
    inputs: Any = None,
    native_outputs: Any = None,
    output_path: PathLike | None = None,
    models_dir: PathLike | None = None,
    fixture_version: str = "",
    root: PathLike | None = None,
    binary: PathLike | None = None,
    dtype: str | None = None,
    entity_version: int | None = None,
    skip_infer: bool = False,
) -> StreamResult:
    """Absorbs a torch.nn.Module.

    `inputs` `[batch, …]` are run by both sides; without them `input_shape` (one sample's) or
    `input_dim` says what the model reads, where its first layer does not. `entity_version` None is
    1 where version 1 holds the model, otherwise 2. `fixture_version` with `root` names the rows to
    run where `inputs` does not. `planet` is the name in the path below `models_dir`. Of a tuple of
    outputs the first counts. The module runs in evaluation mode and is left as it was.
    """
    from . import _pytorch

    path = proof.target(planet, model_id, output_path, models_dir, root)
    rows = proof.fixture_inputs(inputs, fixture_version, root)
    claims = _claims(layer_specs, layer_units, activation)
    ids = False
    if claims is not None:
        mapped = _legacy(_pytorch.chain(net), claims, input_dim, _pytorch.LAYOUT)
    else:
        mapped, ids = _pytorch.to_layers(net, rows, _shape(input_dim, input_shape))
    return proof.stream(
        mapped,
        _pytorch.forward(net, ids),
        path=path,
        model_id=model_id,
        inputs=rows,
        native_outputs=native_outputs,
        binary=binary,
        dtype=dtype,
        entity_version=entity_version,
        skip_infer=skip_infer,
    )


def keras(
    net: Any,
    *,
    planet: str = "tensorflow",
    model_id: str = "model",
    input_dim: int | None = None,
    input_shape: Sequence[int] | None = None,
    layer_specs: Sequence[LayerSpec] | None = None,
    layer_units: Sequence[int] | None = None,
    activation: str = "relu",
    inputs: Any = None,
    native_outputs: Any = None,
    output_path: PathLike | None = None,
    models_dir: PathLike | None = None,
    fixture_version: str = "",
    root: PathLike | None = None,
    binary: PathLike | None = None,
    dtype: str | None = None,
    entity_version: int | None = None,
    skip_infer: bool = False,
) -> StreamResult:
    """Absorbs a Keras model: Sequential, functional, or a subclass whose `call` traces. Arguments
    as for `pytorch`."""
    from . import _keras

    path = proof.target(planet, model_id, output_path, models_dir, root)
    rows = proof.fixture_inputs(inputs, fixture_version, root)
    claims = _claims(layer_specs, layer_units, activation)
    if claims is not None:
        mapped = _legacy(_keras.chain(net), claims, input_dim, _keras.LAYOUT)
    else:
        mapped = _keras.to_layers(net, rows, _shape(input_dim, input_shape))
    return proof.stream(
        mapped,
        _keras.forward(net),
        path=path,
        model_id=model_id,
        inputs=rows,
        native_outputs=native_outputs,
        binary=binary,
        dtype=dtype,
        entity_version=entity_version,
        skip_infer=skip_infer,
    )


def jax(
    net: Any,
    *,
    params: Any = None,
    planet: str = "jax",
    model_id: str = "model",
    input_dim: int | None = None,
    input_shape: Sequence[int] | None = None,
    layer_specs: Sequence[LayerSpec] | None = None,
    layer_units: Sequence[int] | None = None,
    activation: str = "relu",
    inputs: Any = None,
    native_outputs: Any = None,
    output_path: PathLike | None = None,
    models_dir: PathLike | None = None,
    fixture_version: str = "",
    root: PathLike | None = None,
    binary: PathLike | None = None,
    dtype: str | None = None,
    entity_version: int | None = None,
    skip_infer: bool = False,
) -> StreamResult:
    """Absorbs a Flax model: a linen module with its variables as `params`, or an nnx module.

    A dictionary of parameters (Dense_0, Dense_1, …) in place of the module is a dense chain and
    needs `layer_specs` or `layer_units`; it has no forward, so `native_outputs` are what Loom is
    compared with. A call that takes `train`, `training`, `is_training` or `deterministic` is told that
    it infers. Other arguments as for `pytorch`.
    """
    from . import _flax

    path = proof.target(planet, model_id, output_path, models_dir, root)
    rows = proof.fixture_inputs(inputs, fixture_version, root)
    claims = _claims(layer_specs, layer_units, activation)
    forward: Callable[[Array], Any] | None
    if _flax.is_tree(net):
        if params is not None:
            raise ValueError("params= belongs to a module; here the first argument is the parameters")
        if claims is None:
            raise ValueError(
                "parameters alone do not say what is computed: give layer_specs= or layer_units=, or the "
                "module and params="
            )
        mapped, forward = _legacy(_flax.chain(net), claims, input_dim, _flax.LAYOUT), None
    elif claims is not None:
        tree = _flax.tree(net, params)
        mapped, forward = (
            _legacy(_flax.chain(tree), claims, input_dim, _flax.LAYOUT),
            _flax.forward(net, params),
        )
    else:
        mapped, forward = _flax.to_layers(net, params, rows, _shape(input_dim, input_shape))
    return proof.stream(
        mapped,
        forward,
        path=path,
        model_id=model_id,
        inputs=rows,
        native_outputs=native_outputs,
        binary=binary,
        dtype=dtype,
        entity_version=entity_version,
        skip_infer=skip_infer,
    )


def sklearn(
    reg: Any,
    *,
    planet: str = "sklearn",
    model_id: str = "model",
    input_dim: int | None = None,
    input_shape: Sequence[int] | None = None,
    layer_specs: Sequence[LayerSpec] | None = None,
    layer_units: Sequence[int] | None = None,
    activation: str = "relu",
    inputs: Any = None,
    native_outputs: Any = None,
    output_path: PathLike | None = None,
    models_dir: PathLike | None = None,
    fixture_version: str = "",
    root: PathLike | None = None,
    binary: PathLike | None = None,
    dtype: str | None = None,
    entity_version: int | None = None,
    skip_infer: bool = False,
) -> StreamResult:
    """Absorbs a fitted MLPRegressor (its predictions) or MLPClassifier (its probabilities; of two
    classes that of the second). Coefficients are rounded to float32, intercepts always taken along.
    Arguments as for `pytorch`."""
    from . import _sklearn

    path = proof.target(planet, model_id, output_path, models_dir, root)
    rows = proof.fixture_inputs(inputs, fixture_version, root)
    claims = _claims(layer_specs, layer_units, activation)
    shape = _shape(input_dim, input_shape)
    if claims is not None:
        mapped = _legacy(_sklearn.chain(reg), claims, input_dim, _sklearn.LAYOUT)
    else:
        mapped = _sklearn.to_layers(reg, shape)
    return proof.stream(
        mapped,
        _sklearn.forward(reg),
        path=path,
        model_id=model_id,
        inputs=rows,
        native_outputs=native_outputs,
        binary=binary,
        dtype=dtype,
        entity_version=entity_version,
        skip_infer=skip_infer,
    )


def stream(*args: Any, **kwargs: Any) -> Any:
    """As `planetbridging.engines.stream`."""
    return _engines().stream(*args, **kwargs)


def stream_all_bedrocks(*args: Any, **kwargs: Any) -> Any:
    """As `planetbridging.engines.stream_all_bedrocks`."""
    return _engines().stream_all_bedrocks(*args, **kwargs)


def stream_all_planets(*args: Any, **kwargs: Any) -> Any:
    """As `planetbridging.engines.stream_all_planets`."""
    return _engines().stream_all_planets(*args, **kwargs)


def _engines() -> Any:
    return importlib.import_module("planetbridging.engines")


def _shape(input_dim: int | None, input_shape: Sequence[int] | None) -> Sequence[int] | None:
    """One sample's shape as the caller gives it."""
    if input_dim is not None and input_shape is not None and prod(input_shape) != input_dim:
        raise ValueError(
            f"input_dim is {input_dim}, but input_shape {tuple(input_shape)} has {prod(input_shape)} numbers"
        )
    return input_shape if input_shape is not None else None if input_dim is None else (input_dim,)


def _claims(
    specs: Sequence[LayerSpec] | None, units: Sequence[int] | None, activation: str
) -> list[LayerSpec] | None:
    """The dense chain that the caller claims, if any."""
    if specs is not None and units is not None:
        raise ValueError("give layer_specs or layer_units, not both")
    found = list(specs) if specs is not None else None
    if units is not None:
        found = [LayerSpec(int(n), activation) for n in units]
    for i, spec in enumerate(found or []):
        if spec.activation not in ACTIVATIONS:
            raise ValueError(
                f"layer_specs[{i}]: activation {spec.activation!r} is none of {', '.join(ACTIVATIONS)}"
            )
    return found


def _legacy(
    chain: Chain, claims: list[LayerSpec], input_dim: int | None, layout: graphs.Layout
) -> mapping.Mapped:
    """The claimed dense chain with the weights of the model's dense layers in order."""
    if len(chain) != len(claims) or not chain:
        names = ", ".join(name for name, _ in chain) or "none"
        raise ValueError(
            f"{len(claims)} layers are claimed; the model has {len(chain)} dense layers ({names})"
        )
    width = input_dim if input_dim is not None else int(chain[0][1]["weight"].shape[layout.in_axis])
    graph, at = graphs.Graph.of((width,)), 0
    for (name, arrays), spec in zip(chain, claims):
        weight, bias = arrays["weight"], arrays.get("bias")
        expected = (width, spec.units) if layout.in_axis == 0 else (spec.units, width)
        if weight.shape != expected:
            raise ValueError(
                f"{name}: the weight has shape {weight.shape}; the claimed layers need {expected}"
            )
        if not spec.bias and bias is not None and np.any(bias):
            raise ValueError(f"{name}: the layer has a bias, which is claimed not to be there")
        if spec.bias and bias is None:
            bias = np.zeros(spec.units, np.float32)
        op = graphs.dense(weight, bias if spec.bias else None, width, spec.units)
        at = graph.add(op, [at], (spec.units,), name, "dense")
        at = graph.add(graphs.Activation(spec.activation), [at], (spec.units,), name, spec.activation)
        width = spec.units
    return mapping.lower(graph, at, layout)
