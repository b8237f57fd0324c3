"""Tables."""

from __future__ import annotations

from typing import Any

from .variables import Named


def embedding(path: str, layer: Any) -> Named:
    """Embedding `[vocabulary, features]`."""
    yield f"{path}.weight", layer.embeddings
