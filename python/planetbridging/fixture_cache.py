"""Fixtures of the original bridge as files, made when they are first needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from . import bedrocks, fixtures

_MEMBERS: dict[str, dict[str, str]] = {
    **{bedrock: {"x_test": bedrock} for bedrock in ("dense", "cnn1", "cnn2", "cnn3", "mha", "swiglu", "embedding")},
    "lstm": {"x_test": "recurrent"},
    "rnn": {"x_test": "recurrent"},
    "layernorm": {"x_test": "norm"},
    "rmsnorm": {"x_test": "norm"},
    "residual": {"x_main_test": "residual_main", "x_skip_test": "residual_skip"},
    "mixer": {"x_test": "mixer_volume", "token_ids_test": "mixer_ids"},
}
"""The arrays that a bedrock's networks are fed, by member of the file, and their recipes."""


def folder(bedrock: str) -> Path:
    """$PLANETBRIDGING_FIXTURES_CACHE/<bedrock>, else ~/.planetbridging/fixtures/<bedrock>."""
    base = os.environ.get("PLANETBRIDGING_FIXTURES_CACHE")
    return (Path(base) if base else Path.home() / ".planetbridging" / "fixtures") / bedrock


def resolve(bedrock: str, root: Path, version: str) -> Path:
    """The folder that holds `<version>.npz`; the bedrock's own is made where it is missing."""
    beside = root / "python" / bedrock / "fixtures"
    if (beside / f"{version}.npz").is_file():
        return beside
    if version == bedrocks.info(bedrock).fixture_version:
        ensure(bedrock)
    return folder(bedrock)


def ensure(bedrock: str) -> Path:
    """The bedrock's fixture: its test rows, float64."""
    path = folder(bedrock) / f"{bedrocks.info(bedrock).fixture_version}.npz"
    if not path.is_file():
        arrays: dict[str, Any] = {}
        for member, recipe in _MEMBERS[bedrock].items():
            rows, train = fixtures.ORIGINAL[recipe]()
            arrays[member] = rows[train:]
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two processes may make it at once, and either is whole.
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
    return path
