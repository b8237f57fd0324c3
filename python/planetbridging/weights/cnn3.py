"""A convolution over 3 axes."""

from __future__ import annotations

from typing import Any

from ._convolution import convolution


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return convolution(c, 3)
