"""A gain."""

from __future__ import annotations

from typing import Any


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {"gamma": (c["dim"],)}
