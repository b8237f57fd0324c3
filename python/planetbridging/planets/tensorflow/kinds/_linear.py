"""A matrix with a bias."""

from __future__ import annotations

from keras import layers

from .. import Operators, turned
from ..activations import activation
from ...naming.tensorflow.kernel import kernel


def linear(ops: Operators, path: str, i: int, o: int, bias: bool, weight: str, shift: str, act="linear"):
    """keras.layers.Dense, its kernel the transpose of Loom's matrix."""
    dense = layers.Dense(o, use_bias=bias, activation=activation(act), dtype=ops.dtype)
    dense.build((None, i))
    for name, variable in kernel(path, dense, weight, shift):
        ops.slot(name, variable, turned(name))
    return dense
