"""What convolutions of any rank have."""

from __future__ import annotations

from typing import Any

from . import present


def convolution(c: dict[str, Any], rank: int) -> dict[str, tuple[int, ...]]:
    """Filters `[out, in, spatial…]` and a bias."""
    f = c["filters"]
    shape = (f, c["in_channels"], *(c["kernel_size"],) * rank)
    return present(weight=shape, bias=(f,) if c.get("bias", False) else None)
