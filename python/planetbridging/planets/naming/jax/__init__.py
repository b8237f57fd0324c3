"""Flax linen: where the parameters of a module stand in its tree, by role, in Flax's own layout."""

from __future__ import annotations

from .embedding import embedding
from .kernel import kernel
from .leaves import Leaf, Leaves
from .norm import norm
from .recurrent import recurrent

__all__ = ["Leaf", "Leaves", "embedding", "kernel", "norm", "recurrent"]
