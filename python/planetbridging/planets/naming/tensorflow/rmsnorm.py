"""The norm without a mean."""

from __future__ import annotations

from typing import Any

from .variables import Named


def rmsnorm(name: str, layer: Any) -> Named:
    """RMSNormalization."""
    yield name, layer.scale
