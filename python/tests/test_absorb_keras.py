"""Live Keras models of every family, absorbed and compared with their own forward."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from absorbing import refused, same  # noqa: E402
from planetbridging import absorb  # noqa: E402
from planetbridging.layers import LayerSpec  # noqa: E402

L = keras.layers


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(12).integers(0, 20, shape)


def chain(shape: tuple[int, ...], *layers: Any, dtype: str = "float32") -> Any:
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def scaled(net: Any) -> Any:
    """Every vector moved off its default, so that a dropped bias or gain shows."""
    rng = np.random.default_rng(3)
    for v in net.trainable_weights:
        if len(v.shape) == 1 or "bias" in v.path:
            v.assign(np.asarray(v) + 0.2 * rng.standard_normal(v.shape).astype(np.float32))
    return net


def tanh_gelu(x: Any) -> Any:
    return keras.activations.gelu(x, approximate=True)


def block(causal: bool) -> Any:
    entry = keras.Input((6, 16))
    h = L.LayerNormalization(epsilon=1e-4)(entry)
    x = L.Add()([entry, L.MultiHeadAttention(4, 4, dropout=0.1)(h, h, use_causal_mask=causal)])
    h = L.RMSNormalization()(x)
    x = x + L.Dense(16)(L.Dropout(0.2)(L.Dense(40, activation=tanh_gelu)(h)))
    return keras.Model(entry, x)


def swiglu() -> Any:
    entry = keras.Input((5, 16))
    h = L.RMSNormalization()(entry)
    gated = L.Multiply()([L.Dense(24, activation="silu", use_bias=False)(h), L.Dense(24)(h)])
    return keras.Model(entry, L.Add()([L.Dense(16)(gated), entry]))


def shortcut() -> Any:
    entry = keras.Input((6, 6, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(entry)
    x = L.Add()([L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 1)(entry)])
    return keras.Model(entry, L.Dense(5)(L.Flatten()(L.ReLU()(x))))


class Own(L.Layer):
    """A hand-written residual layer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = L.Dense(8), L.LayerNormalization()

    def call(self, x):
        return keras.ops.tanh(x + self.dense(self.norm(x)))


class Subclass(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.own, self.b = L.Dense(8, activation="relu"), Own(), L.Dense(3)
        self.drop = L.Dropout(0.5)

    def call(self, x, training=None):
        return self.b(self.drop(self.own(self.a(x)), training=training))


def subclass() -> Any:
    net = Subclass()
    net(np.zeros((1, 8), np.float32))
    return net


FAMILIES: dict[str, tuple[Any, np.ndarray]] = {
    "square": (
        lambda: chain((8,), L.Dense(8, "relu"), L.Dense(8, "tanh", use_bias=False), L.Dense(8)),
        normal(5, 8),
    ),
    "activations": (
        lambda: chain(
            (8,),
            L.Dense(9, "silu"),
            L.Dense(9),
            L.Activation("sigmoid"),
            L.Dense(9, tanh_gelu),
            L.Dense(9),
            L.LeakyReLU(negative_slope=0.01),
            L.Dense(6, "softmax"),
        ),
        normal(5, 8),
    ),
    "nested": (
        lambda: chain(
            (8,), keras.Sequential([L.Dense(6, "relu"), keras.Sequential([L.Dropout(0.5)])]), Own2()
        ),
        normal(5, 8),
    ),
    "conv1_causal": (
        lambda: chain(
            (10, 3),
            L.Conv1D(4, 3, padding="causal", activation="relu"),
            L.Conv1D(4, 2, strides=3, padding="same"),
            L.Flatten(),
            L.Dense(16),
            L.Dense(2),
        ),
        normal(3, 10, 3),
    ),
    "conv2": (
        lambda: chain(
            (8, 7, 3),
            L.Conv2D(4, 3, padding="same"),
            L.Activation("silu"),
            L.Conv2D(5, 2, strides=2),
            L.Flatten(),
            L.Dense(60),
            L.Dense(7),
        ),
        normal(3, 8, 7, 3),
    ),
    "conv2_same_stride": (
        lambda: chain((8, 8, 3), L.Conv2D(4, 3, strides=2, padding="same"), L.Flatten(), L.Dense(3)),
        normal(3, 8, 8, 3),
    ),
    "conv2_ends": (lambda: chain((6, 5, 2), L.ZeroPadding2D(1), L.Conv2D(3, 3)), normal(3, 6, 5, 2)),
    "conv2_channels": (
        lambda: chain((5, 4, 2), L.Conv2D(3, 2), L.Dense(6, "relu"), L.Flatten(), L.Dense(2)),
        normal(3, 5, 4, 2),
    ),
    "conv2_of_dense": (
        lambda: chain((12,), L.Dense(32, "relu"), L.Reshape((4, 4, 2)), L.Conv2D(3, 3, padding="same")),
        normal(4, 12),
    ),
    "conv3": (
        lambda: chain((4, 4, 4, 2), L.Conv3D(3, 2, activation="relu"), L.Flatten(), L.Dense(3)),
        normal(2, 4, 4, 4, 2),
    ),
    "block": (lambda: block(False), normal(3, 6, 16)),
    "block_causal": (lambda: block(True), normal(3, 6, 16)),
    "swiglu": (swiglu, normal(3, 5, 16)),
    "shortcut": (shortcut, normal(2, 6, 6, 3)),
    "lstm": (
        lambda: chain((7,), L.Embedding(20, 8), L.LSTM(12, return_sequences=True), L.Dense(5), dtype="int32"),
        ids(4, 7),
    ),
    "lstm_last": (
        lambda: chain((7,), L.Embedding(20, 8), L.LSTM(12), L.Dropout(0.5), L.Dense(5), dtype="int32"),
        ids(4, 7),
    ),
    "rnn": (
        lambda: chain(
            (5, 4), L.SimpleRNN(6, return_sequences=True, use_bias=False), L.SimpleRNN(6), L.Dense(6)
        ),
        normal(3, 5, 4),
    ),
    "subclass": (subclass, normal(4, 8)),
}


class Own2(Own):
    """Six features in place of eight."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = L.Dense(6)


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_the_frameworks(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    make, x = FAMILIES[name]
    same(absorb.keras, scaled(make()), x, tmp_path)


def test_legacy_calls_keep_their_meaning(tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    net, x = scaled(chain((4,), L.Dense(4, "relu"), L.Dense(3, "relu"))), normal(5, 4)
    same(absorb.keras, net, x, tmp_path, input_dim=4, layer_units=[4, 3])
    wrong = absorb.keras(
        net,
        layer_specs=[LayerSpec(4), LayerSpec(3, "linear")],
        inputs=x,
        output_path=tmp_path / "claimed.entity",
    )
    assert wrong.compare_label == "DIFF"


def test_a_square_matrix_turned_would_be_seen(tmp_path: Path) -> None:
    net, x = scaled(chain((6,), L.Dense(6))), normal(3, 6)
    kernel, bias = (np.asarray(v) for v in net.weights)
    result = absorb.keras(
        net, inputs=x, native_outputs=x @ kernel.T + bias, output_path=tmp_path / "m"
    )
    assert result.compare_label == "DIFF"


def test_everything_unmappable_is_named_at_once(tmp_path: Path) -> None:
    net = chain(
        (8, 8, 3),
        L.Conv2D(4, 3, dilation_rate=2, name="dilated"),
        L.MaxPooling2D(name="pool"),
        L.BatchNormalization(name="batch"),
        L.Reshape((4, 4)),
        L.Bidirectional(L.LSTM(3), name="both"),
        L.Dense(7, activation="gelu", name="exact"),
    )
    refused(
        absorb.keras,
        net,
        normal(2, 8, 8, 3),
        tmp_path,
        "dilated (Conv2D): its dilation is (2, 2)",
        "pool (MaxPooling2D)",
        "batch (BatchNormalization)",
        "both (Bidirectional)",
        "exact (Dense): this GELU is the exact one",
    )


class Branching(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = L.Dense(4)

    def call(self, x):
        return self.dense(x) if float(keras.ops.sum(x)) > 0 else x


REFUSED: dict[str, tuple[Any, np.ndarray, tuple[str, ...]]] = {
    "branch": (Branching, normal(2, 4), ("its call cannot be traced",)),
    "mask": (
        lambda: chain((4,), L.Embedding(20, 4, mask_zero=True), dtype="int32"),
        ids(2, 4),
        ("mask_zero",),
    ),
    "leaky": (lambda: chain((4,), L.Dense(4), L.LeakyReLU()), normal(2, 4), ("its slope is 0.3",)),
    "relu_lstm": (
        lambda: chain((3, 4), L.LSTM(4, activation="relu", return_sequences=True)),
        normal(2, 3, 4),
        ("its activation is not tanh",),
    ),
    "last_step": (lambda: chain((3, 4), L.LSTM(4)), normal(2, 3, 4), ("ends in a part of a tensor",)),
    "norm_of_picture": (
        lambda: chain((4, 4, 3), L.Conv2D(6, 1), L.LayerNormalization()),
        normal(2, 4, 4, 3),
        ("layernorm reads rows",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    make, x, places = REFUSED[name]
    refused(absorb.keras, make(), x, tmp_path, *places)
