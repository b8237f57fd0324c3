"""nn.GRU, whose reset gate acts after the product."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from .. import Operators
from ....mistake import Mistake
from ...naming.pytorch.recurrent import recurrent as naming


def build(ops: Operators, path: str, c: dict[str, Any]):
    if c["reset"] != "after_product":
        raise Mistake(f"{path}: PyTorch's reset gate acts after the product")
    h = c["hidden_size"]
    module = nn.GRU(c["input_size"], h, batch_first=True, bias=c["bias"], dtype=ops.dtype)

    # Biases of r and z that only their sum determines: an uneven split shows a dropped one.
    def input_bias(w):
        return np.concatenate([w["bias"][: 2 * h] * np.float32(0.75), w["bias"][2 * h :]])

    def recurrent_bias(w):
        rest = w["bias"][: 2 * h] - w["bias"][: 2 * h] * np.float32(0.75)
        return np.concatenate([rest, w["recurrent_bias"]])
    split = {"input_bias": input_bias, "recurrent_bias": recurrent_bias}
    for name, parameter in naming(path, module):
        role = name.rsplit(".", 1)[1]
        ops.slot(name, parameter, split.get(role, lambda w, role=role: w[role]))
    ops.modules.append(module)
    return lambda x: module(x)[0]
