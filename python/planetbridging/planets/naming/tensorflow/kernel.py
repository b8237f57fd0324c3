"""Layers with a kernel."""

from __future__ import annotations

from typing import Any

from .variables import Named


def kernel(path: str, layer: Any, weight: str = "weight", bias: str = "bias") -> Named:
    """Dense `[in, out]` and ConvND `[spatial…, in, out]`."""
    yield f"{path}.{weight}", layer.kernel
    if layer.use_bias:
        yield f"{path}.{bias}", layer.bias
