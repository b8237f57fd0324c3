"""PyTorch: array names of torch.nn modules, in PyTorch's own layout."""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

Named = Iterator[tuple[str, Tensor]]


def linear(path: str, module: nn.Module, prefix: str = "") -> Named:
    """nn.Linear `[out, in]` and nn.ConvNd `[out, in, spatial…]`."""
    return _present(path, {f"{prefix}weight": module.weight, f"{prefix}bias": module.bias})


def linears(path: str, modules: dict[str, nn.Module]) -> Named:
    """Several nn.Linear of one layer: q, k, v, o of an attention, gate, up, down of a SwiGLU."""
    for name, module in modules.items():
        yield from linear(path, module, f"{name}_")


def recurrent(path: str, module: nn.Module, layer: int = 0) -> Named:
    """nn.LSTM (gates i, f, g, o) and nn.RNN: `[gates * hidden, in]`, the bias in two parts."""
    yield f"{path}.input_weight", getattr(module, f"weight_ih_l{layer}")
    yield f"{path}.recurrent_weight", getattr(module, f"weight_hh_l{layer}")
    if module.bias:
        yield f"{path}.input_bias", getattr(module, f"bias_ih_l{layer}")
        yield f"{path}.recurrent_bias", getattr(module, f"bias_hh_l{layer}")


def norm(path: str, module: nn.Module) -> Named:
    """nn.LayerNorm and nn.RMSNorm."""
    return _present(path, {"gamma": module.weight, "beta": getattr(module, "bias", None)})


def embedding(path: str, module: nn.Module) -> Named:
    """nn.Embedding `[vocabulary, features]`."""
    return _present(path, {"weight": module.weight})


def _present(path: str, parameters: dict[str, Tensor | nn.Module | None]) -> Named:
    for role, parameter in parameters.items():
        if isinstance(parameter, Tensor):
            yield f"{path}.{role}", parameter
