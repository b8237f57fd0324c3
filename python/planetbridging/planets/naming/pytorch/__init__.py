"""PyTorch: array names of torch.nn modules, in PyTorch's own layout."""

from __future__ import annotations

from .embedding import embedding
from .linear import linear, linears
from .norm import norm
from .parameters import Named
from .recurrent import recurrent

__all__ = ["Named", "embedding", "linear", "linears", "norm", "recurrent"]
