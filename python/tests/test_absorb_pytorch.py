"""Live PyTorch models of every family, absorbed and compared with their own forward."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from absorbing import refused, same  # noqa: E402
from planetbridging import absorb, load  # noqa: E402
from planetbridging.layers import LayerSpec  # noqa: E402


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def ids(*shape: int, below: int = 20) -> np.ndarray:
    return np.random.default_rng(12).integers(0, below, shape)


def scaled(net: nn.Module) -> nn.Module:
    """Every vector moved off its default, so that a dropped bias or gain shows."""
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 1:
                p += 0.2 * torch.randn_like(p)
    return net


class PreNorm(nn.Module):
    def __init__(self, d: int, heads: int, causal: bool = False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.RMSNorm(d, eps=1e-4)
        self.attention = nn.MultiheadAttention(d, heads, batch_first=True, dropout=0.1)
        self.mlp = nn.Sequential(
            nn.Linear(d, 3 * d), nn.GELU(approximate="tanh"), nn.Dropout(0.3), nn.Linear(3 * d, d)
        )
        self.causal = causal

    def forward(self, x):
        h = self.norm1(x)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        x = x + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
        return self.mlp(self.norm2(x)) + x


class SwiGlu(nn.Module):
    def __init__(self, d: int, m: int, biases: str = ""):
        super().__init__()
        self.norm = nn.RMSNorm(d)
        self.gate, self.up = (nn.Linear(d, m, bias=n in biases) for n in "gu")
        self.down = nn.Linear(m, d, bias="d" in biases)

    def forward(self, x):
        h = self.norm(x)
        return x + self.down(self.up(h) * F.silu(self.gate(h)))


class Reader(nn.Module):
    """Recurrent layers over embeddings; the last step, by the output or by the state."""

    def __init__(self, kind: type, state: bool = False, layers: int = 1, bias: bool = True):
        super().__init__()
        self.embed = nn.Embedding(20, 8, padding_idx=0)
        self.scan = kind(8, 12, batch_first=True, num_layers=layers, bias=bias)
        self.out, self.state = nn.Linear(12, 5), state

    def forward(self, tokens):
        y, state = self.scan(self.embed(tokens))
        if not self.state:
            return self.out(y[:, -1])
        return self.out(state[-1] if isinstance(self.scan, nn.RNN) else state[0][-1])


class Residual(nn.Module):
    """A picture block with a projected shortcut and an activation behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.short, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4 * 36, 5)

    def forward(self, x):
        x = torch.relu(self.b(F.leaky_relu(self.a(x))) + self.short(x))
        x = x + self.b(x)
        return self.head(torch.flatten(x, 1))


class Mixed(nn.Module):
    """Sequences through convolutions: axes swapped before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv1d(6, 5, 3, padding="same"), nn.Linear(5, 4)

    def forward(self, x):
        return self.dense(torch.tanh(self.conv(x.transpose(1, 2))).permute(0, 2, 1))


class Products(nn.Module):
    """Attention written out: one matrix for queries, keys and values, or three with fewer key heads."""

    def __init__(self, d: int, heads: int, kv: int = 0, causal: bool = True):
        super().__init__()
        self.d, self.heads, self.kv, self.causal = d, heads, kv, causal
        self.qkv = (
            nn.Linear(d, 3 * d)
            if not kv
            else nn.ModuleList(nn.Linear(d, n * d // heads, bias=False) for n in (heads, kv, kv))
        )
        self.out = nn.Linear(d, d)

    def forward(self, x):
        batch, steps, _ = x.shape
        parts = self.qkv(x).split(self.d, dim=2) if not self.kv else [layer(x) for layer in self.qkv]
        q, k, v = (p.view(batch, steps, -1, self.d // self.heads).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=self.kv > 0)
        return x + self.out(y.transpose(1, 2).contiguous().view(batch, steps, self.d))


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


FAMILIES: dict[str, tuple[Any, np.ndarray]] = {
    "square": (
        lambda: sequential(
            nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 8)
        ),
        normal(5, 8),
    ),
    "activations": (
        lambda: sequential(
            nn.Linear(8, 9),
            nn.SiLU(),
            nn.Linear(9, 9),
            nn.Sigmoid(),
            nn.Linear(9, 9),
            nn.GELU(approximate="tanh"),
            nn.Linear(9, 9),
            nn.LeakyReLU(),
            nn.Tanh(),
        ),
        normal(5, 8),
    ),
    "nested": (
        lambda: sequential(
            nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Dropout(0.5))),
            nn.Identity(),
            nn.Sequential(nn.Linear(6, 6), nn.Softmax(-1)),
        ),
        normal(5, 8),
    ),
    "softmax_rows": (
        lambda: sequential(nn.Linear(8, 12), nn.Unflatten(1, (3, 4)), nn.Softmax(dim=2)),
        normal(5, 8),
    ),
    "conv1": (
        lambda: sequential(nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv1d(4, 4, 2)),
        normal(3, 3, 9),
    ),
    "conv2": (
        lambda: sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(4, 5, 2, stride=2, bias=False),
            nn.Flatten(),
            nn.Linear(80, 80),
            nn.ReLU(),
            nn.Linear(80, 7),
        ),
        normal(3, 3, 8, 8),
    ),
    "conv2_same": (
        lambda: sequential(nn.Conv2d(2, 3, 4, padding="same"), nn.Conv2d(3, 2, 3, padding="valid")),
        normal(3, 2, 7, 6),
    ),
    "conv3": (
        lambda: sequential(nn.Conv3d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(81, 3)),
        normal(2, 2, 4, 4, 4),
    ),
    "norms": (
        lambda: sequential(
            nn.LayerNorm((4, 6)),
            nn.Linear(6, 6),
            nn.RMSNorm(6),
            nn.ReLU(),
            nn.LayerNorm(6, elementwise_affine=False),
        ),
        normal(3, 4, 6),
    ),
    "block": (lambda: PreNorm(16, 4), normal(3, 6, 16)),
    "block_causal": (
        lambda: sequential(PreNorm(16, 2, causal=True), PreNorm(16, 4), nn.LayerNorm(16)),
        normal(3, 6, 16),
    ),
    "attention_after_rows": (
        lambda: sequential(nn.Linear(24, 24), nn.Unflatten(1, (3, 8)), nn.Linear(8, 8), PreNorm(8, 2)),
        normal(4, 24),
    ),
    "products": (lambda: sequential(Products(16, 4), Products(16, 2, causal=False)), normal(3, 5, 16)),
    "products_grouped": (lambda: Products(16, 4, kv=2), normal(3, 5, 16)),
    "encoder": (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True),
            2,
            norm=nn.LayerNorm(16),
            enable_nested_tensor=False,
        ),
        normal(3, 5, 16),
    ),
    "encoder_post": (lambda: nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), normal(3, 5, 16)),
    "swiglu": (
        lambda: sequential(SwiGlu(16, 24), SwiGlu(16, 16, "gud"), SwiGlu(16, 20, "d")),
        normal(3, 5, 16),
    ),
    "lstm": (lambda: Reader(nn.LSTM), ids(4, 7)),
    "lstm_state": (lambda: Reader(nn.LSTM, state=True, layers=2), ids(4, 7)),
    "lstm_alone": (lambda: nn.LSTM(5, 6, batch_first=True, bias=False), normal(3, 4, 5)),
    "rnn": (lambda: Reader(nn.RNN, state=True), ids(4, 7)),
    "rnn_steps": (lambda: sequential(nn.Embedding(20, 6)), ids(4, 3)),
    "residual": (Residual, normal(2, 3, 6, 6)),
    "transposed": (Mixed, normal(3, 8, 6)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_the_frameworks(name: str, tmp_path: Path) -> None:
    make, x = FAMILIES[name]
    net = scaled(make())
    net.train()
    names, before = set(vars(net)), {k: v.clone() for k, v in net.state_dict().items()}
    same(absorb.pytorch, net, x, tmp_path)
    assert all(m.training for m in net.modules()), "the caller's flags are put back"
    after = net.state_dict()
    assert list(after) == list(before) and all(torch.equal(v, before[k]) for k, v in after.items())
    assert set(vars(net)) == names


def test_version_1_holds_what_it_can(tmp_path: Path) -> None:
    dense = same(
        absorb.pytorch,
        scaled(sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))),
        normal(3, 4),
        tmp_path,
    )
    assert dense.entity_version == 1 and dense.layer_count == 2
    conv = sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 2))
    assert same(absorb.pytorch, scaled(conv), normal(3, 1, 4), tmp_path).entity_version == 2
    with pytest.raises(RuntimeError, match="has no field for"):
        absorb.pytorch(
            conv, inputs=normal(3, 1, 4), output_path=tmp_path / "one", entity_version=1
        )
    assert not (tmp_path / "one").exists()


def test_a_wrong_reference_is_seen(tmp_path: Path) -> None:
    net, x = scaled(sequential(nn.Linear(4, 4), nn.ReLU())), normal(3, 4)
    wrong = net(torch.as_tensor(x)).detach().numpy() + 1e-3
    result = absorb.pytorch(
        net, inputs=x, native_outputs=wrong, output_path=tmp_path / "m.entity"
    )
    assert result.compare_label == "DIFF" and result.max_abs_diff == pytest.approx(1e-3, rel=1e-2)


def test_a_square_matrix_turned_would_be_seen(tmp_path: Path) -> None:
    net, x = scaled(sequential(nn.Linear(6, 6))), normal(3, 6)
    turned = x @ net[0].weight.detach().numpy() + net[0].bias.detach().numpy()
    result = absorb.pytorch(
        net, inputs=x, native_outputs=turned, output_path=tmp_path / "m.entity"
    )
    assert result.compare_label == "DIFF"


def test_legacy_calls_keep_their_meaning(tmp_path: Path) -> None:
    net, x = scaled(sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.ReLU())), normal(5, 4)
    result = same(absorb.pytorch, net, x, tmp_path, input_dim=4, layer_units=[8, 3])
    assert result.entity_version == 1 and result.layer_count == 2
    specs = [LayerSpec(8), LayerSpec(3, "linear")]
    assert (
        absorb.pytorch(
            net,
            input_dim=4,
            layer_specs=specs,
            inputs=x,
            output_path=tmp_path / "claimed.entity",
        ).compare_label
        == "DIFF"
    ), "a claim that the forward does not keep"
    for wrong in (
        {"layer_units": [8]},
        {"layer_units": [7, 3]},
        {"layer_units": [8, 3], "activation": "mish"},
        {"layer_units": [8, 3], "layer_specs": specs},
        {"layer_specs": [LayerSpec(8, bias=False), LayerSpec(3)]},
    ):
        with pytest.raises(ValueError):
            absorb.pytorch(net, inputs=x, output_path=tmp_path / "wrong.entity", **wrong)
    assert not (tmp_path / "wrong.entity").exists()


def test_places_and_names(tmp_path: Path) -> None:
    net = sequential(nn.Linear(4, 2))
    result = absorb.pytorch(net, models_dir=tmp_path, model_id="mine")
    assert result.entity_path == str(tmp_path / "pytorch" / "mine" / "mine.stream.entity")
    assert result.compare_label is None and result.outputs.size == 0 and result.output_dim == 0
    with open(result.entity_path, "rb") as file:
        assert len(file.read()) > struct.calcsize("8f")
    with pytest.raises(ValueError, match="output_path"):
        absorb.pytorch(net)
    with pytest.raises(ValueError, match="plain file name"):
        absorb.pytorch(net, models_dir=tmp_path, model_id="../mine")
    with pytest.raises(ValueError, match="root"):
        absorb.pytorch(net, output_path=tmp_path / "m", fixture_version="v1")
    with pytest.raises(ValueError, match="input_shape"):
        absorb.pytorch(sequential(nn.Conv1d(1, 1, 1)), output_path=tmp_path / "m")


def test_a_dtype_is_stored(tmp_path: Path) -> None:
    net, x = scaled(sequential(nn.Linear(64, 64))), normal(3, 64)
    whole = absorb.pytorch(net, inputs=x, output_path=tmp_path / "a")
    small = absorb.pytorch(net, inputs=x, output_path=tmp_path / "b", dtype="int8")
    assert (tmp_path / "b").stat().st_size < (tmp_path / "a").stat().st_size / 2
    assert whole.compare_label in ("EXACT", "PASS") and small.compare_label == "DIFF"


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.gru = nn.Linear(4, 4), nn.GRU(4, 4)

    def forward(self, x):
        return self.a(x) if x.sum() > 0 else x


class Many(nn.Module):
    """Nearly nothing of it can be mapped."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated, self.pool = nn.Conv2d(3, 4, 3, dilation=2), nn.MaxPool2d(2)
        self.grouped = nn.Conv2d(4, 4, (1, 2), groups=2)
        self.scan = nn.LSTM(2, 3, bidirectional=True, batch_first=True)
        self.act, self.head = nn.GELU(), nn.Linear(6, 2)

    def forward(self, x):
        x = self.act(self.grouped(self.pool(self.dilated(x))))
        y, _ = self.scan(torch.flatten(x, 2))
        return self.head(y).cumsum(1)


def test_everything_unmappable_is_named_at_once(tmp_path: Path) -> None:
    refused(
        absorb.pytorch,
        Many(),
        normal(2, 3, 8, 8)[:, :, :, :8],
        tmp_path,
        "dilated (Conv2d): its dilation is (2, 2)",
        "pool (MaxPool2d)",
        "grouped (Conv2d): its kernel is (1, 2) and",
        "act (GELU): this GELU is the exact one",
        "scan (LSTM): it runs in both directions",
        "cumsum (cumsum)",
    )


class InPlace(nn.Module):
    """The shortcut is the rectified tensor, which a trace does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.a(x)
        return self.b(F.relu(x, inplace=True)) + x


class Lower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scan, self.out = nn.LSTM(4, 4, num_layers=2, batch_first=True), nn.Linear(4, 4)

    def forward(self, x):
        return self.out(self.scan(x)[1][0][0])


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.places = nn.Linear(4, 4), nn.Parameter(torch.ones(3, 4))

    def forward(self, x):
        return self.dense(x) + self.places


class Cross(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.mha = nn.Linear(4, 4), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        y = self.a(x)
        return self.mha(x, y, y)[0]


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scan = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.scan(x)[0][:, -1]


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.a(x) * self.b(x)


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 1), nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


def hooked() -> nn.Module:
    net = sequential(nn.Linear(4, 4))
    net[0].register_forward_hook(lambda module, args, out: out * 2)
    return net


REFUSED: dict[str, tuple[Any, np.ndarray, tuple[str, ...]]] = {
    "branch": (Branching, normal(2, 4), ("(model) (Branching): the forward cannot be traced", "gru (GRU)")),
    "double": (lambda: sequential(nn.Linear(4, 4).double()), normal(2, 4), ("float64",)),
    "batch_norm": (
        lambda: sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2)),
        normal(2, 1, 4),
        ("1 (BatchNorm1d)",),
    ),
    "relu_rnn": (
        lambda: nn.RNN(4, 4, batch_first=True, nonlinearity="relu"),
        normal(2, 3, 4),
        ("nonlinearity is relu",),
    ),
    "last_step": (Last, normal(2, 3, 4), ("ends in a part of a tensor",)),
    "product": (Product, normal(2, 4), ("not a SwiGLU block",)),
    "in_place": (InPlace, normal(2, 4), ("changed in place",)),
    "lower_state": (Lower, normal(2, 3, 4), ("the state of a lower layer",)),
    "constant": (Constant, normal(2, 3, 4), ("it adds a constant",)),
    "cross": (Cross, normal(2, 3, 4), ("query, key and value are not one tensor",)),
    "nothing": (lambda: sequential(nn.Identity()), normal(2, 4), ("no layer",)),
    "softmax_axis": (lambda: sequential(nn.Linear(4, 4), nn.Softmax(0)), normal(2, 4), ("runs over axis 0",)),
    "hook": (hooked, normal(2, 4), ("forward hooks",)),
    "gelu_encoder": (
        lambda: nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, activation="gelu"),
        normal(2, 3, 8),
        ("exact one",),
    ),
    "rows_of_picture": (Rows, normal(2, 3, 4, 4), ("layernorm reads rows",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    make, x, places = REFUSED[name]
    refused(absorb.pytorch, make(), x, tmp_path, *places)


def test_a_flattened_model_gives_one_row_for_each_sample(tmp_path: Path) -> None:
    """Also where the widths agree without flattening: five samples are five rows, alone and in other batches."""
    x = np.random.default_rng(0).normal(size=(5, 1, 8)).astype(np.float32)
    for net in (nn.Sequential(nn.Flatten(), nn.Linear(8, 10)), nn.Sequential(nn.Linear(8, 8), nn.Flatten())):
        flat = same(absorb.pytorch, net, x, tmp_path)
        native = net(torch.from_numpy(x)).detach().numpy()
        for rows in (x, x[:1], x[:3]):
            y = load(flat.entity_path).forward(rows)
            assert y.shape == native[: len(rows)].shape and np.allclose(y, native[: len(rows)], atol=1e-6)
        assert flat.notes == ()
    straight = same(absorb.pytorch, nn.Linear(8, 10), x, tmp_path)
    picture = np.random.default_rng(0).normal(size=(5, 2, 4)).astype(np.float32)
    wide = same(absorb.pytorch, nn.Sequential(nn.Flatten(), nn.Linear(8, 10)), picture, tmp_path)
    assert straight.notes == wide.notes == () and load(wide.entity_path).forward(picture).shape == (5, 10)
