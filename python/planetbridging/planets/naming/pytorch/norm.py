"""Norms."""

from __future__ import annotations

from torch import nn

from .parameters import Named, present


def norm(path: str, module: nn.Module) -> Named:
    """nn.LayerNorm and nn.RMSNorm."""
    return present(path, {"gamma": module.weight, "beta": getattr(module, "bias", None)})
