"""Keras: array names of layers, in Keras's own layout."""

from __future__ import annotations

from .embedding import embedding
from .kernel import kernel
from .layernorm import layernorm
from .recurrent import recurrent
from .rmsnorm import rmsnorm
from .variables import Named

__all__ = ["Named", "embedding", "kernel", "layernorm", "recurrent", "rmsnorm"]
