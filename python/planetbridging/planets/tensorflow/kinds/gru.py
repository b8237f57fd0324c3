"""layers.GRU in both conventions; gates in the order z, r, n."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from .. import Operators
from ...naming.tensorflow.recurrent import recurrent as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    after = c["reset"] == "after_product"
    gru = layers.GRU(c["hidden_size"], return_sequences=True, use_bias=c["bias"], reset_after=after, dtype=ops.dtype)
    gru.build((None, c["seq_length"], c["input_size"]))

    def update_first(rows):
        r, z, n = np.split(rows, 3)
        return np.concatenate([z, r, n])

    def bias(w):
        if not after:
            return update_first(w["bias"])
        gates = np.zeros(2 * c["hidden_size"], np.float32)
        return np.stack([update_first(w["bias"]), np.concatenate([gates, w["recurrent_bias"]])])
    for name, variable in naming(path, gru):
        role = name.rsplit(".", 1)[1]
        ops.slot(name, variable, bias if role == "bias" else lambda w, role=role: update_first(w[role]).T)
    return gru
