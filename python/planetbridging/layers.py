"""Dense layers as the original bridge's callers describe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a dense chain: how wide it is, what it applies, whether it has a bias."""

    units: int
    activation: str = "relu"
    bias: bool = True


@dataclass
class DenseLayer:
    """A dense layer with its arrays: weights `[output_dim, input_dim]`, bias `[output_dim]`."""

    index: int
    input_dim: int
    output_dim: int
    activation: str
    weights: NDArray[Any]
    bias: NDArray[Any] | Sequence[float] = field(default_factory=list)

    def to_json_dict(self) -> dict[str, Any]:
        """The layer as the JSON stream has it. Source: `stream.md` section 2."""
        return {
            "index": self.index,
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "activation": self.activation,
            "weights": np.asarray(self.weights, dtype=np.float64).reshape(-1).tolist(),
            "bias": np.asarray(self.bias, dtype=np.float64).reshape(-1).tolist(),
        }
