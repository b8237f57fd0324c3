"""A gain and a shift."""

from __future__ import annotations

from typing import Any

from . import present


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return present(gamma=(c["dim"],), beta=(c["dim"],) if c.get("beta", True) else None)
