"""Norms."""

from __future__ import annotations

from .leaves import Leaves


def norm(scale: bool, bias: bool) -> Leaves:
    """nn.LayerNorm and nn.RMSNorm."""
    leaves: Leaves = {"gamma": ("scale",), "beta": ("bias",)}
    return {role: leaf for role, leaf in leaves.items() if (scale if role == "gamma" else bias)}
