"""Every bedrock from every planet that is installed; the others are skipped by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import planetbridging as pb
from planetbridging import engines

CALLS = [(planet, bedrock) for planet in pb.PLANETS for bedrock in pb.BEDROCK_IDS
         if planet in engines.available_planets(bedrock)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.mark.parametrize(("planet", "bedrock"), CALLS)
def test_stream(planet: str, bedrock: str, root: Path) -> None:
    if planet not in engines.installed_planets():
        pytest.skip(f"{planet} is not installed")
    r = engines.stream(bedrock, planet, root=root, try_welvet=True, max_samples=100)
    assert r.native_vs_loom in ("EXACT", "PASS"), r.max_abs_diff
    assert r.native.shape == r.loom_stream.shape and len(r.native) == 100 and np.ptp(r.native) > 0
    assert r.loom_vs_welvet == "EXACT", r.welvet_note
    assert Path(r.entity_path) == root / ".planetbridging" / "stream" / bedrock / planet / f"{r.model_id}.entity"


def test_a_training_is_kept(root: Path) -> None:
    if "sklearn" not in engines.installed_planets():
        pytest.skip("sklearn is not installed")
    first, second = (engines.stream("dense", "sklearn", model_id="linear_16_4", root=root) for _ in range(2))
    assert np.array_equal(first.native, second.native)
    kept = root / ".planetbridging" / "models" / "dense" / "sklearn" / "linear_16_4"
    assert {p.name for p in kept.iterdir()} == {".complete", "meta.json", "weights.npz"}


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="planet 'sklearn' has no mha; pytorch, tensorflow, jax have"):
        engines.stream("mha", "sklearn")
    with pytest.raises(ValueError, match="unknown model 'mha_9'"):
        engines.model("mha", "mha_9")
