"""The bedrocks, their manifests, and the models that stand for them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import fixtures, manifest
from ._binary import PACKAGE
from ._extension import extension

BEDROCK_IDS: tuple[str, ...] = tuple(extension().bedrocks())
PLANETS: tuple[str, ...] = tuple(extension().planets())

FIXTURE_VERSIONS: dict[str, str] = {
    bedrock: f"{bedrock}_bedrock_{'v2' if bedrock == 'dense' else 'v1'}" for bedrock in BEDROCK_IDS
}
"""The names that the original bridge gives its fixtures."""

STREAM_MODEL_IDS: dict[str, str] = {
    "dense": "mlp_32_64_32_16_8_relu",
    "cnn1": "conv1_32_8_4_2layer",
    "cnn2": "conv2_8_4_2layer",
    "cnn3": "conv3_4_4_2layer",
    "mha": "mha_8_2_4",
    "lstm": "lstm_4_4_4",
    "rnn": "rnn_4_4_4",
    "layernorm": "layernorm_8",
    "embedding": "embedding_16_4_4",
    "rmsnorm": "rmsnorm_8",
    "swiglu": "swiglu_8_16_4",
    "residual": "residual_8",
    "mixer": "mixer_all_v2",
}
"""The models that examples and smoke tests use: the bedrocks that the layer stream has."""
SMOKE_MODEL_IDS = STREAM_MODEL_IDS


@dataclass(frozen=True)
class BedrockInfo:
    """One bedrock: its fixture, and the model that examples and smoke tests use."""

    id: str
    fixture_version: str

    @property
    def stream_model_id(self) -> str:
        """The original bridge's choice; the first of the manifest where it has none."""
        return STREAM_MODEL_IDS.get(self.id) or next(iter(models(self.id)))

    @property
    def smoke_model_id(self) -> str:
        return self.stream_model_id

    @property
    def layer_count(self) -> int:
        """The layers of that model, those inside containers in place of these."""
        return sum(1 for layer in model(self.id).walk() if not layer.children)


BEDROCKS: dict[str, BedrockInfo] = {id: BedrockInfo(id, FIXTURE_VERSIONS[id]) for id in BEDROCK_IDS}


def info(bedrock: str) -> BedrockInfo:
    """The bedrock of a name in any letter case."""
    found = BEDROCKS.get(bedrock.lower().strip())
    if found is None:
        raise ValueError(f"unknown bedrock {bedrock!r}; expected one of {', '.join(BEDROCK_IDS)}")
    return found


class _Planets(Mapping[str, tuple[str, ...]]):
    """The planets of each bedrock, read from its manifest when they are asked for."""

    def __getitem__(self, bedrock: str) -> tuple[str, ...]:
        if bedrock not in BEDROCKS:
            raise KeyError(bedrock)
        having = {planet for wanted in models(bedrock).values() for planet in wanted.planets}
        return tuple(planet for planet in PLANETS if planet in having)

    def __iter__(self) -> Iterator[str]:
        return iter(BEDROCK_IDS)

    def __len__(self) -> int:
        return len(BEDROCK_IDS)

    def __repr__(self) -> str:
        return repr(dict(self))


BEDROCK_PLANETS: Mapping[str, tuple[str, ...]] = _Planets()


def manifest_path(bedrock: str) -> Path:
    """The bedrock's manifest: the package's own, or that of the checkout."""
    name = f"{info(bedrock).id}.yaml"
    places = (PACKAGE / "_manifests" / name, PACKAGE.parents[1] / "manifests" / name)
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{name}: neither in {places[0].parent} nor in {places[1].parent}")
    return found


@functools.cache
def _manifest(path: Path) -> manifest.Bedrock:
    return manifest.load(path)


def recipes(bedrock: str) -> dict[str, Any]:
    """The recipes of the bedrock's fixture by array."""
    return _manifest(manifest_path(bedrock)).fixture


def models(bedrock: str) -> dict[str, manifest.Model]:
    """The bedrock's models by id."""
    return {model.id: model for model in _manifest(manifest_path(bedrock)).models}


def model(bedrock: str, model_id: str | None = None) -> manifest.Model:
    """A model of a bedrock; the one that examples use where none is named."""
    known, wanted = models(bedrock), model_id or info(bedrock).stream_model_id
    if wanted not in known:
        raise ValueError(f"unknown model {wanted!r} of {bedrock}; expected one of {', '.join(known)}")
    return known[wanted]


def fixture(wanted: manifest.Model) -> dict[str, NDArray[Any]]:
    """The arrays that a model is fed, rounded to float32."""
    known = recipes(wanted.bedrock)
    return {i.array: fixtures.array(known[i.array]).astype(np.float32) for i in wanted.inputs}
