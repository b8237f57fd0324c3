"""scikit-learn: a fitted multi-layer perceptron. One activation for all hidden layers."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from ..planets.naming import sklearn as naming
from .graph import (
    Activation,
    Array,
    Graph,
    Layout,
    Problem,
    Softmax,
    UnmappableModel,
    dense,
)
from .mapping import Mapped, lower

LAYOUT = Layout("sklearn", in_axis=0)
ACTIVATIONS = {"identity": "linear", "relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}


def chain(reg: Any) -> list[tuple[str, dict[str, Array]]]:
    """The layers' arrays by role, rounded to float32 (the estimator keeps float64)."""
    if not hasattr(reg, "coefs_"):
        raise ValueError(f"{type(reg).__name__} has no coefs_: fit it first")
    found: list[tuple[str, dict[str, Array]]] = [(f"layer {i}", {}) for i in range(len(reg.coefs_))]
    for name, array in naming.perceptron(reg).items():
        _, index, role = name.split(".")
        found[int(index)][1][role] = np.asarray(array, np.float32)
    return found


def forward(reg: Any) -> Callable[[Array], Array]:
    """Predictions of a regressor, probabilities of a classifier; of two classes the second's."""

    def run(inputs: Array) -> Array:
        rows = np.asarray(inputs, np.float32)
        if isinstance(reg, MLPClassifier):
            found = np.asarray(reg.predict_proba(rows))
            return found[:, 1:] if reg.n_outputs_ == 1 else found
        return np.asarray(reg.predict(rows)).reshape(len(rows), -1)

    return run


def to_layers(reg: Any, shape: Sequence[int] | None) -> Mapped:
    """The estimator in Loom's layers."""
    if type(reg) not in (MLPRegressor, MLPClassifier):
        raise UnmappableModel(
            [
                Problem(
                    "(model)",
                    type(reg).__name__,
                    "only perceptrons are networks",
                    "absorb an MLPRegressor or MLPClassifier; apply what stands before it yourself",
                )
            ]
        )
    layers = chain(reg)
    width = len(layers[0][1]["weight"])
    if shape is not None and tuple(shape) != (width,):
        raise ValueError(f"the input has shape {tuple(shape)}; the estimator reads {width} features")
    graph, at = Graph.of((width,)), 0
    for i, (name, arrays) in enumerate(layers):
        width, units = arrays["weight"].shape
        at = graph.add(dense(arrays["weight"], arrays["bias"], width, units), [at], (units,), name, "dense")
        last = i + 1 == len(layers)
        function = reg.out_activation_ if last else reg.activation
        if function == "softmax":
            at = graph.add(Softmax(), [at], (units,), name, function)
        elif function not in ACTIVATIONS:
            instead = "use loss='squared_error'"
            at = graph.refuse([at], (units,), name, type(reg).__name__, f"its output is {function}", instead)
        else:
            at = graph.add(Activation(ACTIVATIONS[function]), [at], (units,), name, function)
    mapped = lower(graph, at, LAYOUT)
    if isinstance(reg, MLPClassifier):
        mapped.notes += ("outputs are probabilities; of two classes that of the second",)
    return mapped
