"""layers.Embedding with Loom's rule for unknown ids: a row of zeros."""

from __future__ import annotations

from typing import Any

from keras import layers
from keras import ops as math

from .. import Operators
from ...naming.tensorflow.embedding import embedding as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    vocab = c["vocab_size"]
    table = layers.Embedding(vocab, c["embedding_dim"], dtype=ops.dtype)
    table.build()
    for name, variable in naming(path, table):
        ops.slot(name, variable, lambda w: w["weight"])

    def look_up(x):
        ids = math.cast(x, "int32")
        known = math.logical_and(ids >= 0, ids < vocab)
        rows = table(math.where(known, ids, 0))
        return math.where(math.expand_dims(known, -1), rows, math.zeros_like(rows))
    return look_up
