"""Layers with a kernel."""

from __future__ import annotations

from .leaves import Leaves


def kernel(bias: bool, weight: str = "weight", shift: str = "bias") -> Leaves:
    """nn.Dense `[in, out]` and nn.Conv `[spatial…, in, out]`."""
    found: Leaves = {weight: ("kernel",)}
    if bias:
        found[shift] = ("bias",)
    return found
