"""One gate."""

from __future__ import annotations

from ._recurrent import by_gate

original = by_gate
