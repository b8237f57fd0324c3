"""Live Flax modules of every family, absorbed and compared with their own forward."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
jax = pytest.importorskip("jax")
pytest.importorskip("flax")

from flax import linen as nn  # noqa: E402
from flax import nnx  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from absorbing import refused, same  # noqa: E402
from planetbridging import absorb  # noqa: E402
from planetbridging.layers import LayerSpec  # noqa: E402


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(12).integers(0, 20, shape)


def variables(net: Any, x: np.ndarray) -> Any:
    """Initialised, every vector moved off its default, so that a dropped bias or gain shows."""
    rng = np.random.default_rng(3)
    found = net.init(jax.random.key(0), jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32))

    def moved(path: Any, leaf: Any) -> Any:
        vector = leaf.ndim == 1 or "bias" in str(path[-1])
        return leaf + 0.2 * jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32) if vector else leaf

    return jax.tree_util.tree_map_with_path(moved, found)


class Block(nn.Module):
    causal: bool

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(epsilon=1e-4)(x)
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        x = x + nn.MultiHeadDotProductAttention(4, dropout_rate=0.1, deterministic=True)(h, mask=mask)
        h = nn.RMSNorm()(x)
        return nn.Dense(16)(nn.gelu(nn.Dense(40)(h))) + x


class SwiGlu(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.RMSNorm()(x)
        return x + nn.Dense(16)(nn.Dense(24)(h) * nn.silu(nn.Dense(24, use_bias=False)(h)))


class Picture(nn.Module):
    """A projected shortcut, an activation behind the sum, a flattened picture, a train switch."""

    @nn.compact
    def __call__(self, x, train: bool):
        y = nn.relu(nn.Conv(4, (3, 3))(x))
        x = jnp.maximum(nn.Conv(4, (3, 3))(y) + nn.Conv(4, (1, 1))(x), 0)
        x = nn.Dropout(0.5, deterministic=not train)(nn.Conv(5, (3, 3), strides=2)(x))
        return nn.Dense(3)(x.reshape((x.shape[0], -1)))


class Evaluated(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Picture()(x, train=False)


class Reader(nn.Module):
    cell: Any
    last: bool = True

    @nn.compact
    def __call__(self, tokens):
        x = nn.RNN(self.cell(12))(nn.Embed(20, 8)(tokens))
        return nn.Dense(5)(x[:, -1] if self.last else x)


class Set(nn.Module):
    def setup(self) -> None:
        self.layers = [nn.Dense(8), nn.Dense(8)]
        self.head = nn.Dense(3)

    def __call__(self, x):
        for layer in self.layers:
            x = x + jnp.tanh(layer(x))
        return nn.log_softmax(self.head(x)) if False else nn.softmax(self.head(x))


def flat(x: Any) -> Any:
    return x.reshape((x.shape[0], -1))


def sequential(*layers: Any) -> Any:
    return nn.Sequential(list(layers))


FAMILIES: dict[str, tuple[Any, np.ndarray]] = {
    "square": (
        lambda: sequential(nn.Dense(8), nn.relu, nn.Dense(8, use_bias=False), jnp.tanh, nn.Dense(8)),
        normal(5, 8),
    ),
    "activations": (
        lambda: sequential(
            nn.Dense(9),
            nn.silu,
            nn.Dense(9),
            nn.sigmoid,
            nn.Dense(9),
            nn.gelu,
            nn.Dense(9),
            nn.leaky_relu,
            nn.tanh,
            nn.Dense(6),
            nn.softmax,
        ),
        normal(5, 8),
    ),
    "nested": (lambda: sequential(sequential(nn.Dense(6), nn.relu), sequential(nn.Dense(6))), normal(5, 8)),
    "conv1": (
        lambda: sequential(
            nn.Conv(4, (3,), padding="CAUSAL"),
            nn.relu,
            nn.Conv(4, (2,), strides=3, padding="SAME"),
            flat,
            nn.Dense(16),
            nn.Dense(2),
        ),
        normal(3, 10, 3),
    ),
    "conv2_ends": (lambda: sequential(nn.Conv(3, (3, 3), padding=1, strides=2), nn.silu), normal(3, 6, 5, 2)),
    "conv2_channels": (
        lambda: sequential(nn.Conv(3, (2, 2), padding="VALID"), nn.Dense(6), nn.relu, flat, nn.Dense(2)),
        normal(3, 5, 4, 2),
    ),
    "conv3": (lambda: sequential(nn.Conv(3, (2, 2, 2)), nn.relu, flat, nn.Dense(3)), normal(2, 3, 3, 3, 2)),
    "picture": (Evaluated, normal(3, 8, 8, 3)),
    "block": (lambda: Block(False), normal(3, 6, 16)),
    "block_causal": (
        lambda: sequential(Block(True), Block(False), nn.LayerNorm(use_bias=False)),
        normal(3, 6, 16),
    ),
    "swiglu": (SwiGlu, normal(3, 5, 16)),
    "lstm": (lambda: Reader(nn.OptimizedLSTMCell, last=False), ids(4, 7)),
    "lstm_last": (lambda: Reader(nn.LSTMCell), ids(4, 7)),
    "rnn": (lambda: sequential(nn.RNN(nn.SimpleCell(6)), nn.RNN(nn.SimpleCell(6))), normal(3, 5, 4)),
    "setup": (Set, normal(4, 8)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_the_frameworks(name: str, tmp_path: Path) -> None:
    make, x = FAMILIES[name]
    net = make()
    same(absorb.jax, net, x, tmp_path, params=variables(net, x))


def test_a_train_switch_is_off(tmp_path: Path) -> None:
    net, x = Picture(), normal(3, 8, 8, 3)
    params = net.init(jax.random.key(0), jnp.asarray(x), train=False)
    same(absorb.jax, net, x, tmp_path, params=params)


def test_nnx_sequential(tmp_path: Path) -> None:
    r = nnx.Rngs(0)
    dense = nnx.Sequential(
        nnx.Linear(8, 8, rngs=r),
        nnx.relu,
        nnx.LayerNorm(8, rngs=r),
        nnx.Dropout(0.0, rngs=r),
        nnx.Sequential(nnx.Linear(8, 3, rngs=r), jnp.tanh),
    )
    same(absorb.jax, dense, normal(3, 8), tmp_path)
    conv = nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=r), nnx.relu, flat, nnx.Linear(256, 3, rngs=r))
    same(absorb.jax, conv, normal(3, 8, 8, 3), tmp_path)


def test_legacy_calls_keep_their_meaning(tmp_path: Path) -> None:
    class Chain(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(12):
                x = nn.relu(nn.Dense(8)(x))
            return x

    net, x = Chain(), normal(5, 8)
    params = variables(net, x)
    native = np.asarray(net.apply(params, jnp.asarray(x)))
    for tree in (params, params["params"]):
        result = absorb.jax(
            tree,
            input_dim=8,
            layer_units=[8] * 12,
            inputs=x,
            native_outputs=native,
            output_path=tmp_path / "m.entity",
        )
        assert result.compare_label in ("EXACT", "PASS") and result.layer_count == 12
    specs = [LayerSpec(8)] * 11 + [LayerSpec(8, "linear")]
    wrong = absorb.jax(
        params,
        layer_specs=specs,
        inputs=x,
        native_outputs=native,
        output_path=tmp_path / "m",
    )
    assert wrong.compare_label == "DIFF"
    alone = absorb.jax(params, layer_specs=specs, inputs=x, output_path=tmp_path / "m")
    assert alone.compare_label is None and alone.outputs.shape == (5, 8)
    with pytest.raises(ValueError, match="layer_specs"):
        absorb.jax(params, inputs=x, output_path=tmp_path / "m")


class Many(nn.Module):
    """Nearly nothing of it can be mapped."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), kernel_dilation=2, name="dilated")(x)
        x = nn.max_pool(nn.BatchNorm(use_running_average=True, name="batch")(x), (2, 2))
        x = nn.Bidirectional(nn.RNN(nn.LSTMCell(3)), nn.RNN(nn.LSTMCell(3)), name="both")(
            x.reshape((x.shape[0], 7, -1))
        )
        return nn.gelu(nn.Dense(3, name="head")(x), approximate=False)


def test_everything_unmappable_is_named_at_once(tmp_path: Path) -> None:
    net, x = Many(), normal(2, 8, 8, 3)
    refused(
        absorb.jax,
        net,
        x,
        tmp_path,
        "dilated (Conv): its kernel_dilation is 2",
        "batch (BatchNorm)",
        "(reduce_window_max)",
        "both (Bidirectional)",
        "(gelu): this GELU is the exact one",
        params=variables(net, x),
    )


class Branching(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.Dense(4)(x)
        return y if self.is_initializing() or y.sum() > 0 else x


class Own(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x) @ self.param("own", nn.initializers.normal(), (4, 4))


REFUSED: dict[str, tuple[Any, np.ndarray, tuple[str, ...]]] = {
    "branch": (Branching, normal(2, 4), ("the forward cannot be traced",)),
    "own_parameter": (Own, normal(2, 4), ("(dot_general)",)),
    "leaky": (
        lambda: sequential(nn.Dense(4), lambda x: nn.leaky_relu(x, 0.2)),
        normal(2, 4),
        ("(ge)", "(select_n)"),
    ),
    "bfloat16": (
        lambda: sequential(nn.Dense(4, dtype=jnp.bfloat16)),
        normal(2, 4),
        ("it computes in bfloat16",),
    ),
    "gru": (lambda: nn.RNN(nn.GRUCell(4)), normal(2, 3, 4), ("its cell is a GRUCell",)),
    "reverse": (lambda: nn.RNN(nn.LSTMCell(4), reverse=True), normal(2, 3, 4), ("it has reverse",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    make, x, places = REFUSED[name]
    net = make()
    refused(absorb.jax, net, x, tmp_path, *places, params=variables(net, x))
