"""The dump: what it writes, and how it says what went wrong."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planetbridging import bedrocks, dump, manifest, planets, sources

pytest.importorskip("sklearn")

MANIFESTS = bedrocks.manifest_path("dense").parent
ONE = ["--planet", "sklearn", "--bedrock", "dense", "--model", "linear_16_4"]


@pytest.fixture(autouse=True)
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Requirements that pin nothing, whatever is installed."""
    folder = tmp_path / "requirements"
    folder.mkdir()
    monkeypatch.setattr(dump, "REQUIREMENTS", folder)
    return folder


def run(out: Path, *args: str, manifests: Path = MANIFESTS) -> int:
    return dump.main([*args, "--manifests", str(manifests), "--out", str(out)])


def last(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    lines = capsys.readouterr().err.rstrip("\n").split("\n")
    return "\n".join(lines[:-1]), lines[-1]


def files(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())


def test_a_file_says_what_made_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out, *ONE) == 0
    assert files(out) == ["dense/sklearn/linear_16_4.json", "dense/sklearn/linear_16_4.npz"]
    made = json.loads((out / "dense/sklearn/linear_16_4.json").read_text())
    whole = (out / "dense/sklearn/linear_16_4.npz").read_bytes()
    model = bedrocks.model("dense", "linear_16_4")
    assert made == {
        "packages": {name: importlib.metadata.version(name) for name in ("scikit-learn", "numpy")},
        "flags": {"threads": "1"}, "seed": 1022, "sha256": hashlib.sha256(whole).hexdigest(),
        "handler": sources.digest(sources.of_model("sklearn", model))}


def test_fixtures_depend_on_fixtures_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out, "--planet", "fixture", "--bedrock", "dense") == 0
    assert files(out) == ["dense/fixture.json", "dense/fixture.npz"]
    made = json.loads((out / "dense/fixture.json").read_text())
    read = b"".join((sources.PACKAGE / name).read_bytes() for name in ("fixtures.py", "mistake.py"))
    assert made["handler"] == hashlib.sha256(read).hexdigest()
    assert "seed" not in made


def test_other_versions_than_pinned(tmp_path: Path, pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, here = tmp_path / "out", importlib.metadata.version("scikit-learn")
    (pinned / "sklearn.txt").write_text(f"numpy=={np.__version__}\nScikit_Learn==0.1\n")
    assert run(out, *ONE) == dump.PACKAGES
    _, said = last(capsys)
    assert f"scikit-learn {here} is installed, 0.1 is pinned" in said and "numpy" not in said
    assert "-m pip install -r python/requirements/sklearn.txt" in said
    assert not out.exists()
    assert run(out, *ONE, "--any-version") == 0
    assert f"note: scikit-learn {here} is installed, 0.1 is pinned" in capsys.readouterr().err


def test_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(dump.PackageError, match="no-such-thing is not installed.*requirements/jax.txt"):
        dump.packages("jax", {"no-such-thing": "no_such_thing", "numpy": "numpy"}, any_version=True)

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="flax")

    monkeypatch.setattr(planets, "handler", absent)
    assert run(tmp_path / "out", *ONE) == dump.PACKAGES
    assert "the dump of sklearn cannot start: flax is not installed" in last(capsys)[1]

    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'planetbridging.x'", name="planetbridging.x")

    monkeypatch.setattr(planets, "handler", broken)
    assert run(tmp_path / "out", *ONE) == dump.FAILED
    assert "pip" not in capsys.readouterr().err


def test_any_distribution_of_a_module_will_do(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pinned / "tensorflow.txt").write_text("tensorflow-cpu==2.21.0\n")
    here = {"tensorflow": "2.21.0+local"}

    def version(name: str) -> str:
        if name not in here:
            raise importlib.metadata.PackageNotFoundError(name)
        return here[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"tensorflow": ["tensorflow"]})
    wanted = {"tensorflow-cpu": "tensorflow"}
    assert dump.packages("tensorflow", wanted, any_version=False) == here
    here["tensorflow"] = "2.22.0"
    with pytest.raises(dump.PackageError, match="tensorflow 2.22.0 is installed, 2.21.0 is pinned"):
        dump.packages("tensorflow", wanted, any_version=False)


@pytest.mark.parametrize(("text", "expected"), [
    (None, "No such file"),
    ("models: [", "dense.yaml: while parsing"),
    ("bedrock: dense\n", "dense.yaml: not a manifest of a bedrock: KeyError 'models'"),
    ("- 1\n", "dense.yaml: not a manifest of a bedrock"),
])
def test_mistaken_manifests(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, expected: str) -> None:
    if text is not None:
        (tmp_path / "dense.yaml").write_text(text)
    assert run(tmp_path / "out", *ONE, manifests=tmp_path) == dump.MISTAKE
    before, said = last(capsys)
    assert expected in said and not before


def test_mistaken_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out", *ONE[:-1], "linaer*") == dump.MISTAKE
    assert last(capsys) == ("", "sklearn has no model 'linaer*' in dense")
    document = (MANIFESTS / "dense.yaml").read_text().replace("activation: relu", "activation: gelu")
    (tmp_path / "dense.yaml").write_text(document)
    args = ["--planet", "sklearn", "--bedrock", "dense", "--model", "mlp_32_16_4_relu"]
    assert run(tmp_path / "out", *args, manifests=tmp_path) == dump.MISTAKE
    before, said = last(capsys)
    assert said.startswith("dense/mlp_32_16_4_relu: ") and "MLPRegressor has no gelu" in said and not before


def test_a_traceback_is_shown_and_its_model_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def fails(handler: Any, bedrock: manifest.Bedrock, model: manifest.Model) -> dict[str, Any]:
        raise ZeroDivisionError(f"in {model.id}")

    monkeypatch.setattr(dump, "dump_model", fails)
    assert run(tmp_path / "out", *ONE) == dump.FAILED
    before, said = last(capsys)
    assert said == "the dump of sklearn failed in dense/linear_16_4"
    assert before.startswith("Traceback") and before.endswith("ZeroDivisionError: in linear_16_4")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_written_in_part_has_no_words_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    dump.write(path, {"x": np.zeros(2)}, {"handler": "first"})
    assert files(tmp_path) == ["a.json", "a.npz"]
    whole = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        dump.write(path, {"x": np.ones(2)}, {"handler": "second"})
    assert path.read_bytes() == whole and not path.with_suffix(".json").exists()


def test_sources_follow_imports(tmp_path: Path) -> None:
    def put(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def digest() -> str:
        return sources.digest(["planets/p/kinds/k.py"], tmp_path)

    followed = {
        "planets/p/kinds/k.py": "import numpy\nfrom .. import shared as s, thing\n    from ...x.y import z\n",
        "planets/p/shared.py": "", "planets/p/__init__.py": "", "planets/x/y/__init__.py": "from ..other import w\n",
        "planets/x/other.py": ""}
    for name, text in followed.items():
        put(name, text)
    put("planets/x/__init__.py", "")
    put("planets/x/unused.py", "")
    whole = "".join(followed[name] for name in sorted(followed)).encode()
    assert digest() == hashlib.sha256(whole).hexdigest()
    for name, text in followed.items():
        put(name, f"{text}# changed\n")
        assert digest() != hashlib.sha256(whole).hexdigest(), name
        put(name, text)
    put("planets/x/unused.py", "# changed\n")
    assert digest() == hashlib.sha256(whole).hexdigest()
    for text in ("from .. import (\n    shared)\n", "import planetbridging.x\n", "from .nowhere import a\n"):
        put("planets/p/kinds/k.py", text)
        with pytest.raises(ValueError, match="planets/p/kinds/k.py:1"):
            digest()


def test_kinds_inside_of_containers_count() -> None:
    found = sources.of_model("jax", bedrocks.model("mixer", "mixer_all_v2"))
    assert {"planets/jax/kinds/mha.py", "weights/swiglu.py", "planets/jax/kinds/swiglu.py"} <= set(found)
    assert all((sources.PACKAGE / name).is_file() for name in found)
