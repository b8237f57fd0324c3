"""Fixtures of the original bridge as files, made when they are first needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from . import bedrocks, fixtures

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
        own = {name: recipe for name, recipe in bedrocks.recipes(bedrock).items() if "original" in recipe}
        arrays: dict[str, Any] = {name: fixtures.array(recipe) for name, recipe in own.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two processes may make it at once, and either is whole.
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
    return path
