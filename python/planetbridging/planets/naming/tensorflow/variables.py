"""Variables by name."""

from __future__ import annotations

from typing import Any, Iterator

Named = Iterator[tuple[str, Any]]
