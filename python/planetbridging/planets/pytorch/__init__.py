"""PyTorch. Matrices are [out, in], convolutions channels first, recurrent biases split in two."""

from __future__ import annotations

from typing import Any, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...manifest import Model
from ..chain import Chain, Slot
from .activations import activation

torch.set_num_threads(1)
# As use_deterministic_algorithms(True), which would import a compiler that cannot live beside TensorFlow.
torch.set_deterministic_debug_mode("error")

PACKAGES = {"torch": "torch", "numpy": "numpy", "scikit-learn": "sklearn"}
FLAGS = {"threads": "1", "deterministic_algorithms": "true"}

class Operators:
    channels_last = False

    def __init__(self, dtype: str):
        self.dtype = getattr(torch, dtype)
        self.slots: dict[str, Slot] = {}
        self.modules = nn.ModuleList()

    def reshape(self, x, shape):
        return x.reshape(shape)

    def transpose(self, x, axes):
        return x.permute(axes)

    def add(self, a, b):
        return torch.add(a, b)

    def multiply(self, a, b):
        return torch.mul(a, b)

    def concat(self, parts, axis):
        return torch.cat(parts, axis)

    def slot(self, name: str, parameter: nn.Parameter, convert) -> None:
        def put(value: np.ndarray) -> None:
            if tuple(value.shape) != tuple(parameter.shape):
                raise ValueError(f"{name}: {value.shape} does not fit {tuple(parameter.shape)}")
            with torch.no_grad():
                parameter.copy_(torch.as_tensor(np.asarray(value), dtype=parameter.dtype))
        self.slots[name] = Slot(lambda: parameter.detach().numpy().copy(), put, convert)

    def plain(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Arrays whose layout is Loom's own."""
        for name, parameter in named:
            self.slot(name, parameter, lambda w, role=name.rsplit(".", 1)[1]: w[role])

    def module(self, module: nn.Module, c: dict[str, Any]):
        """Registers a module for training; returns it with the configuration's activation, if any, behind it."""
        self.modules.append(module)
        name = c.get("activation", "linear")
        act = activation(name)
        return module if name == "linear" else lambda x: act(module(x))

    def parameter(self, name: str, shape: tuple[int, ...], convert=None) -> nn.Parameter:
        """A parameter of no module, whose array is `name`."""
        parameter = nn.Parameter(torch.zeros(shape, dtype=self.dtype))
        self.slot(name, parameter, convert or (lambda w, role=name.rsplit(".", 1)[1]: w[role]))
        return parameter


def build(model: Model, dtype: str) -> Chain:
    torch.manual_seed(model.seed)
    return Chain(Operators(dtype), model)


def forward(chain: Chain, inputs: list[np.ndarray], dtype: str) -> np.ndarray:
    with torch.no_grad():
        return chain(*(torch.as_tensor(x.astype(dtype)) for x in inputs)).numpy()


def train(chain: Chain, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """Mean squared error, Adam."""
    torch.manual_seed(chain.model.seed)
    xs, ys = torch.as_tensor(x.astype("float32")), torch.as_tensor(y.astype("float32"))
    optimizer = torch.optim.Adam(chain.ops.modules.parameters(), lr=rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(xs)).split(batch):
            optimizer.zero_grad()
            F.mse_loss(chain(xs[rows]).flatten(1), ys[rows]).backward()
            optimizer.step()
