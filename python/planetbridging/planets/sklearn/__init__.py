"""scikit-learn: MLPRegressor. Matrices are [in, out]; one hidden activation, linear output."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from ...manifest import Model
from ...mistake import Mistake
from ...weights import Weights
from ..naming.sklearn import perceptron
from .kinds.dense import build as build_estimator

PACKAGES = {"scikit-learn": "sklearn", "numpy": "numpy"}
FLAGS = {"threads": "1"}


class Net:
    """An MLPRegressor with the layers of a model."""

    def __init__(self, model: Model, dtype: str):
        self.model, self.dtype = model, np.dtype(dtype)
        configs = [layer.config for layer in model.chain if layer.kind == "dense"]
        if len(configs) != len(model.layers):
            raise Mistake(f"{model.id}: scikit-learn has dense layers only")
        self.configs, self.biased = configs, all(c["bias"] for c in configs)
        self.mlp = build_estimator(model.id, configs, model.seed)
        # One pass over zeros gives the estimator its arrays.
        first, last = configs[0]["input_dim"], configs[-1]["output_dim"]
        self.mlp.partial_fit(np.zeros((2, first), self.dtype), np.zeros((2, last), self.dtype))
        self._pin()

    def _pin(self) -> None:
        """Intercepts cannot be switched off; a model without biases holds them at zero."""
        if not self.biased:
            self.mlp.intercepts_ = [np.zeros_like(b) for b in self.mlp.intercepts_]

    def assign(self, weights: Weights) -> None:
        for i, (_, roles) in enumerate(sorted(weights.items())):
            self.mlp.coefs_[i] = roles["weight"].T.astype(self.dtype)
            if self.biased:
                self.mlp.intercepts_[i] = roles["bias"].astype(self.dtype)

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        for i in range(len(self.configs)):
            self.mlp.coefs_[i] = arrays[f"layers.{i}.weight"].astype(self.dtype)
            self.mlp.intercepts_[i] = arrays[f"layers.{i}.bias"].astype(self.dtype)

    def arrays(self) -> dict[str, np.ndarray]:
        return perceptron(self.mlp)


def build(model: Model, dtype: str) -> Net:
    return Net(model, dtype)


def forward(net: Net, inputs: list[np.ndarray], dtype: str) -> np.ndarray:
    y = net.mlp.predict(inputs[0].astype(dtype))
    return y.reshape(len(inputs[0]), -1)


def train(net: Net, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """The estimator's own Adam, one epoch at a time so that pinned intercepts stay at zero."""
    net.mlp = MLPRegressor(
        hidden_layer_sizes=net.mlp.hidden_layer_sizes, activation=net.mlp.activation, solver="adam",
        learning_rate_init=rate, batch_size=batch, random_state=net.model.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(epochs):
            net.mlp.partial_fit(x.astype(net.dtype), y.astype(net.dtype))
            net._pin()
