"""nn.RNN over nn.GRUCell, whose reset gate acts after the product."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import linen as nn

from .. import Operators
from ....mistake import Mistake


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["reset"] != "after_product" or not c["bias"]:
        raise Mistake(f"{path}: Flax's reset gate acts after the product, and its cells always have biases")
    cell = nn.GRUCell(c["hidden_size"], dtype=ops.dtype, param_dtype=ops.dtype)
    arrays = {f"{path}.recurrent_bias.n": (("cell", "hn", "bias"), lambda w: w["recurrent_bias"])}
    for i, gate in enumerate("rzn"):
        for role, leaf in (("input_weight", (f"i{gate}", "kernel")), ("recurrent_weight", (f"h{gate}", "kernel")),
                           ("bias", (f"i{gate}", "bias"))):
            arrays[f"{path}.{role}.{gate}"] = (("cell", *leaf), lambda w, role=role, i=i: np.split(w[role], 3)[i].T)
    return ops.module(path, nn.RNN(cell), (1, c["seq_length"], c["input_size"]), arrays)
