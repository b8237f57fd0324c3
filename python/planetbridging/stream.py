"""Streams live weights into Loom `.entity` files: one function for each bedrock.

A payload has the fields of the original bridge (`planet`, `model_id`, sizes, `layers`); weights are
flat, row-major, `[out, in]`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from . import bedrocks, fixture_cache
from ._binary import StrPath, repo_root, run_loom_stream
from .arrays import real
from .layers import DenseLayer
from .results import StreamResult

__all__ = ["StreamResult", "stream_bedrock", "stream_dense", "stream_mixer"] + [
    f"stream_{bedrock}" for bedrock in bedrocks.BEDROCK_IDS if bedrock not in ("dense", "mixer")
]


def stream_bedrock(
    bedrock: str,
    payload: Mapping[str, Any],
    *,
    fixture_version: str = "",
    output_path: StrPath | None = None,
    models_dir: StrPath | None = None,
    fixtures_dir: StrPath | None = None,
    root: StrPath | None = None,
    inputs: ArrayLike | None = None,
    native_outputs: ArrayLike | None = None,
    binary: StrPath | None = None,
    skip_infer: bool = False,
) -> StreamResult:
    """Writes the entity of a payload and runs it on `inputs` (rows, flat) or on the fixture.

    Raises ValueError for a payload without layers, RuntimeError with `loom-stream`'s message."""
    bedrock = bedrock.lower().strip()
    if not payload.get("layers"):
        raise ValueError("payload.layers required")
    base = repo_root(root)
    version = fixture_version or str(payload.get("fixture_version", ""))
    if fixtures_dir is None and version:
        fixtures_dir = fixture_cache.resolve(bedrock, base, version)
    envelope: dict[str, Any] = {"bedrock": bedrock, "root": str(base)}
    for name, value in (("fixture_version", version), ("models_dir", models_dir),
                        ("fixtures_dir", fixtures_dir), ("output_path", output_path)):
        if value:
            envelope[name] = str(value)
    if skip_infer:
        envelope["skip_infer"] = True
    if inputs is not None:
        x = real("inputs", inputs).astype(np.float64)
        envelope["inputs"] = x.reshape(1 if x.ndim == 1 else len(x), -1).tolist()
    body = {"bedrock": bedrock, **({"fixture_version": version} if version else {}), **payload}
    if output_path is None or bedrock == "dense":
        answer = run_loom_stream(envelope=envelope, payload=body, binary=binary)
        return StreamResult.of(answer, str(answer["entity_path"]), native_outputs)
    # The other bedrocks name their files themselves.
    target = Path(output_path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".planetbridging-") as folder:
        envelope.setdefault("models_dir", folder)
        answer = run_loom_stream(envelope=envelope, payload=body, binary=binary)
        written = Path(answer["entity_path"])
        if written.is_relative_to(folder):
            written.replace(target)
        elif written != target:
            shutil.copyfile(written, target)
    return StreamResult.of(answer, str(target), native_outputs)


def stream_dense(
    *,
    planet: str,
    model_id: str,
    layers: Sequence[DenseLayer],
    input_dim: int,
    fixture_version: str = "",
    **options: Any,
) -> StreamResult:
    """A chain of dense layers. Options: those of `stream_bedrock`."""
    if not layers:
        raise ValueError("layers required")
    payload = {
        "planet": planet, "model_id": model_id, "fixture_version": fixture_version, "input_dim": input_dim,
        "layers": [layer.to_json_dict() for layer in layers],
    }
    return stream_bedrock("dense", payload, fixture_version=fixture_version, **options)


def stream_mixer(
    *,
    planet: str,
    model_id: str,
    layers: list[dict[str, Any]],
    output_dim: int,
    fixture_version: str = "mixer_bedrock_v1",
    **options: Any,
) -> StreamResult:
    """The 10 layers of mixer v1 or the 16 of v2. Options: those of `stream_bedrock`."""
    payload = {"bedrock": "mixer", "planet": planet, "model_id": model_id, "fixture_version": fixture_version,
               "output_dim": output_dim, "layers": layers}
    return stream_bedrock("mixer", payload, fixture_version=fixture_version, **options)


def stream_cnn1(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """One-dimensional convolutions."""
    return stream_bedrock("cnn1", payload, **options)


def stream_cnn2(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Two-dimensional convolutions."""
    return stream_bedrock("cnn2", payload, **options)


def stream_cnn3(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Three-dimensional convolutions."""
    return stream_bedrock("cnn3", payload, **options)


def stream_mha(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Causal attention with rotary positions."""
    return stream_bedrock("mha", payload, **options)


def stream_lstm(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """LSTM layers."""
    return stream_bedrock("lstm", payload, **options)


def stream_rnn(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Elman layers."""
    return stream_bedrock("rnn", payload, **options)


def stream_layernorm(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Layer normalisations."""
    return stream_bedrock("layernorm", payload, **options)


def stream_embedding(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Table look-ups."""
    return stream_bedrock("embedding", payload, **options)


def stream_rmsnorm(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Root-mean-square normalisations."""
    return stream_bedrock("rmsnorm", payload, **options)


def stream_swiglu(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Gated feed-forward blocks."""
    return stream_bedrock("swiglu", payload, **options)


def stream_residual(payload: Mapping[str, Any], **options: Any) -> StreamResult:
    """Sums of two inputs."""
    return stream_bedrock("residual", payload, **options)
