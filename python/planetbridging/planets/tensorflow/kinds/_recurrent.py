"""Recurrent layers that return every step."""

from __future__ import annotations

from typing import Any

from .. import Operators, turned
from ...naming.tensorflow.recurrent import recurrent as naming


def recurrent(ops: Operators, path: str, c: dict[str, Any], cls):
    """A layer of `cls`."""
    rnn = cls(c["hidden_size"], return_sequences=True, use_bias=c["bias"], dtype=ops.dtype)
    rnn.build((None, c["seq_length"], c["input_size"]))
    for name, variable in naming(path, rnn):
        ops.slot(name, variable, turned(name))
    return rnn
