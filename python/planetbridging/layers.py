"""Dense layers of a live model, as the original bridge's callers name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerSpec:
    """A dense layer of which only the width and the activation are said."""

    units: int
    activation: str = "relu"
    bias: bool = True


@dataclass(frozen=True)
class DenseLayer:
    """One dense layer: `weights` float32, flat, row-major `[out, in]`."""

    index: int
    input_dim: int
    output_dim: int
    activation: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """The layer as a payload has it."""
        document: dict[str, Any] = {
            "index": self.index, "input_dim": self.input_dim, "output_dim": self.output_dim,
            "activation": self.activation, "weights": np.asarray(self.weights, np.float64).reshape(-1).tolist(),
        }
        if self.bias is not None and len(self.bias) > 0:
            document["bias"] = np.asarray(self.bias, np.float64).tolist()
        return document
