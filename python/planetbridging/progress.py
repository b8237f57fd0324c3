"""Bars for long work."""

from __future__ import annotations

from typing import Any


def progress(items: list[str], what: str) -> Any:
    """`items` with a bar on a terminal where tqdm is installed; quiet in a pipe."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return items
    return tqdm(items, desc=what, disable=None, leave=False)
