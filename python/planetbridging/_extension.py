"""The extension module, where it is built."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def extension() -> Any:
    """`planetbridging._loom`."""
    try:
        return import_module("._loom", __package__)
    except ImportError as error:
        raise ImportError(
            "the extension module of planetbridging is missing; `pip install ./python` builds it, "
            "`pip install -e ./python` into a checkout") from error
