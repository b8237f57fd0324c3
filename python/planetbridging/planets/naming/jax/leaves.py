"""Where parameters stand in a module's tree."""

from __future__ import annotations

Leaf = tuple[str, ...]
Leaves = dict[str, Leaf]
