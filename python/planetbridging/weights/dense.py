"""A matrix and a bias."""

from __future__ import annotations

from typing import Any

from . import present


def roles(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    i, o = c["input_dim"], c["output_dim"]
    return present(weight=(o, i), bias=(o,) if c.get("bias", True) else None)
