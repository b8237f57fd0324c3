"""Tables."""

from __future__ import annotations

from torch import nn

from .parameters import Named, present


def embedding(path: str, module: nn.Module) -> Named:
    """nn.Embedding `[vocabulary, features]`."""
    return present(path, {"weight": module.weight})
