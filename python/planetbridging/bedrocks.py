"""The 13 bedrocks and the models that stand for them."""

from __future__ import annotations

from dataclasses import dataclass

BEDROCK_IDS: tuple[str, ...] = (
    "dense", "cnn1", "cnn2", "cnn3", "mha", "lstm", "rnn",
    "layernorm", "embedding", "rmsnorm", "swiglu", "residual", "mixer",
)
PLANETS: tuple[str, ...] = ("pytorch", "tensorflow", "jax", "sklearn")

BEDROCK_PLANETS: dict[str, tuple[str, ...]] = {
    bedrock: PLANETS if bedrock == "dense" else PLANETS[:3] for bedrock in BEDROCK_IDS
}

FIXTURE_VERSIONS: dict[str, str] = {
    bedrock: f"{bedrock}_bedrock_{'v2' if bedrock == 'dense' else 'v1'}" for bedrock in BEDROCK_IDS
}


@dataclass(frozen=True)
class BedrockInfo:
    """One bedrock: its fixture, and the model that examples and smoke tests use."""

    id: str
    fixture_version: str
    stream_model_id: str
    layer_count: int

    @property
    def smoke_model_id(self) -> str:
        return self.stream_model_id


_STREAM_MODELS: dict[str, tuple[str, int]] = {
    "dense": ("mlp_32_64_32_16_8_relu", 4),
    "cnn1": ("conv1_32_8_4_2layer", 2),
    "cnn2": ("conv2_8_4_2layer", 2),
    "cnn3": ("conv3_4_4_2layer", 2),
    "mha": ("mha_8_2_4", 1),
    "lstm": ("lstm_4_4_4", 1),
    "rnn": ("rnn_4_4_4", 1),
    "layernorm": ("layernorm_8", 1),
    "embedding": ("embedding_16_4_4", 1),
    "rmsnorm": ("rmsnorm_8", 1),
    "swiglu": ("swiglu_8_16_4", 1),
    "residual": ("residual_8", 1),
    "mixer": ("mixer_all_v2", 16),
}

BEDROCKS: dict[str, BedrockInfo] = {
    bedrock: BedrockInfo(bedrock, FIXTURE_VERSIONS[bedrock], *_STREAM_MODELS[bedrock]) for bedrock in BEDROCK_IDS
}
STREAM_MODEL_IDS: dict[str, str] = {bedrock: info.stream_model_id for bedrock, info in BEDROCKS.items()}
SMOKE_MODEL_IDS = STREAM_MODEL_IDS


def info(bedrock: str) -> BedrockInfo:
    """The bedrock of a name in any letter case."""
    found = BEDROCKS.get(bedrock.lower().strip())
    if found is None:
        raise ValueError(f"unknown bedrock {bedrock!r}; expected one of {', '.join(BEDROCK_IDS)}")
    return found
