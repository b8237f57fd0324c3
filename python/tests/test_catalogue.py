"""What Rust tells Python of bedrocks and layers, beside what is written here by hand."""

from __future__ import annotations

import json

import pytest

import planetbridging
from planetbridging import bedrocks, manifest
from planetbridging.mistake import Mistake


def layer(kind: str, **config: object) -> manifest.Layer:
    return manifest.layer("layers.3", json.dumps({kind: config}))


def test_bedrocks_have_the_planets_of_their_manifests() -> None:
    assert planetbridging.BEDROCK_IDS[:2] == ("dense", "cnn1") and len(planetbridging.BEDROCK_IDS) == 13
    assert planetbridging.PLANETS == ("pytorch", "tensorflow", "jax", "sklearn")
    assert planetbridging.BEDROCK_PLANETS["dense"] == planetbridging.PLANETS
    assert planetbridging.BEDROCK_PLANETS["lstm"] == ("pytorch", "tensorflow", "jax")
    assert set(planetbridging.BEDROCK_PLANETS) == set(planetbridging.BEDROCK_IDS)
    with pytest.raises(KeyError):
        planetbridging.BEDROCK_PLANETS["densest"]
    assert {id: info.layer_count for id, info in bedrocks.BEDROCKS.items() if info.layer_count > 1} == {
        "dense": 4, "cnn1": 2, "cnn2": 2, "cnn3": 2, "mixer": 16}


def test_a_bedrock_that_the_original_has_not_is_shown_by_its_first_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrocks, "STREAM_MODEL_IDS", {})
    assert bedrocks.info("rnn").stream_model_id == "rnn_4_4_4"


def test_attention_with_fewer_heads_for_keys() -> None:
    found = layer("mha", d_model=12, num_heads=3, num_kv_heads=1, qk_norm="shared")
    assert (found.config["head_dim"], found.config["rope_base"], found.config["eps"]) == (4, 10000.0, 1e-6)
    assert (found.config["causal"], found.config["rope"], found.config["bias"]) == (True, True, True)
    assert list(found.roles.items()) == [
        ("q_weight", (12, 12)), ("k_weight", (4, 12)), ("v_weight", (4, 12)), ("o_weight", (12, 12)),
        ("q_bias", (12,)), ("k_bias", (4,)), ("v_bias", (4,)), ("o_bias", (12,)), ("q_norm", (4,)), ("k_norm", (4,))]
    assert layer("mha", d_model=12, num_heads=3).config["num_kv_heads"] == 3


def test_defaults_and_roles_of_other_kinds() -> None:
    assert layer("layernorm", dim=5).config == {"dim": 5, "eps": 1e-5, "beta": True}
    assert layer("rmsnorm", dim=5).config == {"dim": 5, "eps": 1e-6}
    conv = layer("cnn2", in_channels=3, filters=2, input=[8, 8], kernel_size=3)
    assert (conv.config["stride"], conv.config["padding"], conv.config["bias"], conv.config["activation"]) == (
        1, 0, False, "linear")
    assert conv.roles == {"weight": (2, 3, 3, 3)}
    assert layer("lstm", input_size=2, hidden_size=3, seq_length=4).roles == {
        "input_weight": (12, 2), "recurrent_weight": (12, 3), "bias": (12,)}


def test_layers_inside_have_paths() -> None:
    step = {"layer": {"dense": {"input_dim": 2, "output_dim": 2}}}
    found = layer("sequential", steps=[step, {"layer": {"sequential": {"steps": [step]}}}])
    assert [inner.path for inner in found.walk()] == [
        "layers.3", "layers.3.sequential_layers.0", "layers.3.sequential_layers.1",
        "layers.3.sequential_layers.1.sequential_layers.0"]


@pytest.mark.parametrize("kind, config, says", [
    ("dense", {"input_dim": 2}, "output_dim"),
    ("dense", {"input_dim": 0, "output_dim": 1}, "input_dim is 0"),
    ("dense", {"input_dim": 2, "output_dim": 1, "bais": True}, "bais"),
    ("desne", {}, "desne"),
])
def test_what_the_core_refuses_is_a_mistake_with_its_place(kind: str, config: dict[str, object], says: str) -> None:
    with pytest.raises(Mistake, match=says) as caught:
        layer(kind, **config)
    assert str(caught.value).startswith("layers.3: ")
