"""Layers with a matrix or filters."""

from __future__ import annotations

from torch import nn

from .parameters import Named, present


def linear(path: str, module: nn.Module, prefix: str = "") -> Named:
    """nn.Linear `[out, in]` and nn.ConvNd `[out, in, spatial…]`."""
    return present(path, {f"{prefix}weight": module.weight, f"{prefix}bias": module.bias})


def linears(path: str, modules: dict[str, nn.Module]) -> Named:
    """Several nn.Linear of one layer: q, k, v, o of an attention, gate, up, down of a SwiGLU."""
    for name, module in modules.items():
        yield from linear(path, module, f"{name}_")
