"""Keras: array names of layers, in Keras's own layout."""

from __future__ import annotations

from typing import Any, Iterator

Named = Iterator[tuple[str, Any]]


def kernel(path: str, layer: Any, weight: str = "weight", bias: str = "bias") -> Named:
    """Dense `[in, out]` and ConvND `[spatial…, in, out]`."""
    yield f"{path}.{weight}", layer.kernel
    if layer.use_bias:
        yield f"{path}.{bias}", layer.bias


def recurrent(path: str, layer: Any) -> Named:
    """LSTM (gates i, f, c, o) and SimpleRNN: `[in, gates * hidden]`, one bias."""
    yield f"{path}.input_weight", layer.cell.kernel
    yield f"{path}.recurrent_weight", layer.cell.recurrent_kernel
    if layer.cell.use_bias:
        yield f"{path}.bias", layer.cell.bias


def layernorm(path: str, layer: Any) -> Named:
    """LayerNormalization."""
    if layer.scale:
        yield f"{path}.gamma", layer.gamma
    if layer.center:
        yield f"{path}.beta", layer.beta


def rmsnorm(name: str, layer: Any) -> Named:
    """RMSNormalization."""
    yield name, layer.scale


def embedding(path: str, layer: Any) -> Named:
    """Embedding `[vocabulary, features]`."""
    yield f"{path}.weight", layer.embeddings
