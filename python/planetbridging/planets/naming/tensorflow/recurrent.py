"""Recurrent layers."""

from __future__ import annotations

from typing import Any

from .variables import Named


def recurrent(path: str, layer: Any) -> Named:
    """LSTM (gates i, f, c, o) and SimpleRNN: `[in, gates * hidden]`, one bias."""
    yield f"{path}.input_weight", layer.cell.kernel
    yield f"{path}.recurrent_weight", layer.cell.recurrent_kernel
    if layer.cell.use_bias:
        yield f"{path}.bias", layer.cell.bias
