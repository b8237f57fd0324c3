"""MLPRegressor: one hidden activation, linear output."""

from __future__ import annotations

from typing import Any

from sklearn.neural_network import MLPRegressor

from ....mistake import Mistake


ACTIVATIONS = {"linear": "identity", "relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}


def build(model_id: str, configs: list[dict[str, Any]], seed: int) -> MLPRegressor:
    """The estimator of all layers of a model."""
    if configs[-1].get("activation", "linear") != "linear":
        raise Mistake(f"{model_id}: MLPRegressor's last layer is linear")
    hidden = {c["activation"] for c in configs[:-1]} or {"linear"}
    if len(hidden) != 1:
        raise Mistake(f"{model_id}: MLPRegressor has one activation for all hidden layers")
    activation = hidden.pop()
    if activation not in ACTIVATIONS:
        raise Mistake(f"{model_id}: MLPRegressor has no {activation}; it has {', '.join(ACTIVATIONS)}")
    return MLPRegressor(
        hidden_layer_sizes=tuple(c["output_dim"] for c in configs[:-1]), activation=ACTIVATIONS[activation],
        solver="adam", random_state=seed)
