"""scikit-learn: array names of a multi-layer perceptron, matrices `[in, out]`."""

from __future__ import annotations

from typing import Any


def perceptron(mlp: Any) -> dict[str, Any]:
    """The coefs_ and intercepts_ of MLPRegressor and MLPClassifier."""
    coefs = {f"layers.{i}.weight": c for i, c in enumerate(mlp.coefs_)}
    return coefs | {f"layers.{i}.bias": b for i, b in enumerate(mlp.intercepts_)}
