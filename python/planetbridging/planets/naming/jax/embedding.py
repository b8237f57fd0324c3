"""Tables."""

from __future__ import annotations

from .leaves import Leaves


def embedding() -> Leaves:
    """nn.Embed `[vocabulary, features]`."""
    return {"weight": ("embedding",)}
