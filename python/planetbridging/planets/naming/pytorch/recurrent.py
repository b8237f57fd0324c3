"""Recurrent layers."""

from __future__ import annotations

from torch import nn

from .parameters import Named


def recurrent(path: str, module: nn.Module, layer: int = 0) -> Named:
    """nn.LSTM (gates i, f, g, o) and nn.RNN: `[gates * hidden, in]`, the bias in two parts."""
    yield f"{path}.input_weight", getattr(module, f"weight_ih_l{layer}")
    yield f"{path}.recurrent_weight", getattr(module, f"weight_hh_l{layer}")
    if module.bias:
        yield f"{path}.input_bias", getattr(module, f"bias_ih_l{layer}")
        yield f"{path}.recurrent_bias", getattr(module, f"bias_hh_l{layer}")
