"""Parameters by name."""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

Named = Iterator[tuple[str, Tensor]]


def present(path: str, parameters: dict[str, Tensor | nn.Module | None]) -> Named:
    """Those that a module has, by path and role."""
    for role, parameter in parameters.items():
        if isinstance(parameter, Tensor):
            yield f"{path}.{role}", parameter
