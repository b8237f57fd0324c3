"""The norm with a mean."""

from __future__ import annotations

from typing import Any

from .variables import Named


def layernorm(path: str, layer: Any) -> Named:
    """LayerNormalization."""
    if layer.scale:
        yield f"{path}.gamma", layer.gamma
    if layer.center:
        yield f"{path}.beta", layer.beta
