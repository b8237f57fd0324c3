"""TensorFlow through Keras 3. Kernels are [in, out], channels last, recurrent biases fused."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ...manifest import Model
from ..chain import Chain, Slot

try:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
except RuntimeError:
    # A process that has used TensorFlow before keeps its threads; a dump has a process of its own.
    pass
tf.config.experimental.enable_op_determinism()

PACKAGES = {"tensorflow-cpu": "tensorflow", "keras": "keras", "numpy": "numpy", "scikit-learn": "sklearn"}
FLAGS = {"threads": "1", "op_determinism": "true", "backend": "tensorflow"}


def turned(name: str, axes: tuple[int, ...] = (1, 0)):
    """How an array comes from Loom's layout: matrices and kernels turned, the rest as it is."""
    role = name.rsplit(".", 1)[1]
    return lambda w: w[role].transpose(axes) if w[role].ndim > 1 else w[role]


class Operators:
    channels_last = True

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.slots: dict[str, Slot] = {}

    def reshape(self, x, shape):
        return ops.reshape(x, shape)

    def transpose(self, x, axes):
        return ops.transpose(x, axes)

    def add(self, a, b):
        return layers.Add(dtype=self.dtype)([a, b])

    def multiply(self, a, b):
        return layers.Multiply(dtype=self.dtype)([a, b])

    def concat(self, parts, axis):
        return layers.Concatenate(axis, dtype=self.dtype)(parts)

    def variable(self, name: str, shape: tuple[int, ...]):
        """A variable of no layer, whose array is `name`."""
        variable = keras.Variable(np.zeros(shape), dtype=self.dtype)
        self.slot(name, variable, lambda w, role=name.rsplit(".", 1)[1]: w[role])
        return variable

    def slot(self, name: str, variable, convert) -> None:
        self.slots[name] = Slot(lambda: ops.convert_to_numpy(variable), variable.assign, convert)


def build(model: Model, dtype: str) -> Chain:
    keras.utils.set_random_seed(model.seed)
    return Chain(Operators(dtype), model)


def forward(chain: Chain, inputs: list[np.ndarray], dtype: str) -> np.ndarray:
    return ops.convert_to_numpy(chain(*(tf.constant(x.astype(dtype)) for x in inputs)))


def train(chain: Chain, x: np.ndarray, y: np.ndarray, epochs: int, batch: int, rate: float) -> None:
    """Mean squared error, Adam, through keras.Model.fit."""
    keras.utils.set_random_seed(chain.model.seed)
    entry = keras.Input(shape=x.shape[1:], dtype="float32")
    model = keras.Model(entry, layers.Flatten()(chain(entry)))
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    model.fit(x.astype("float32"), y.astype("float32"), epochs=epochs, batch_size=batch, verbose=0)
