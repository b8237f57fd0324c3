"""One package per planet. Each names the arrays of a live model by role, in the planet's own
layout, and runs the planet's own forward; its constructors are `kinds/<kind>.py`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def handler(planet: str) -> ModuleType:
    """The package of a planet."""
    if planet == "tensorflow" and "tensorflow" not in sys.modules:
        load_triton()
    return import_module(f"{__name__}.{planet}")


def load_triton() -> None:
    """Loads Triton, which PyTorch's optimizers load, before TensorFlow: after it, it ends the process.

    Raises ImportError where TensorFlow is there already."""
    if "triton" in sys.modules or find_spec("triton") is None:
        return
    if "tensorflow" in sys.modules:
        raise ImportError(
            "PyTorch cannot train in this process: its Triton cannot be loaded after TensorFlow. "
            "Import triton before tensorflow, or use a process for each")
    import_module("triton")
