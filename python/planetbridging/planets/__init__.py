"""One module per planet. Each names the arrays of a live model by role, in the planet's own
layout, and runs the planet's own forward."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def handler(planet: str) -> ModuleType:
    """The module of a planet."""
    return import_module(f"{__name__}.{planet}")
