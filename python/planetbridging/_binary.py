"""The programs that the package carries, and how `loom-stream` is called."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from numpy.typing import NDArray

PACKAGE = Path(__file__).resolve().parent
TIMEOUT_SECONDS = 120.0
StrPath = str | os.PathLike[str]


def repo_root(root: StrPath | None = None) -> Path:
    """Where models and entities are kept: `root`, else $PLANETBRIDGING_ROOT, else the working folder."""
    return Path(root or os.environ.get("PLANETBRIDGING_ROOT") or Path.cwd())


def _program(name: str) -> str:
    return f"{name}.exe" if sys.platform == "win32" else name


def find_loom_stream(explicit: StrPath | None = None) -> Path:
    """`loom-stream`: the one that is named, $PLANETBRIDGING_LOOM_STREAM, the package's own, one on
    PATH, or `<root>/bin/loom-stream`."""
    if explicit is not None:
        if Path(explicit).is_file():
            return _executable(Path(explicit))
        raise FileNotFoundError(f"{explicit}: no such file; it was named as loom-stream")
    name = _program("loom-stream")
    on_path = shutil.which(name)
    places = [
        Path(os.environ.get("PLANETBRIDGING_LOOM_STREAM", "")),
        PACKAGE / "_bin" / name,
        # A checkout: what `cargo build --release` has left.
        PACKAGE.parents[1] / "target" / "release" / name,
        Path(on_path or ""),
        repo_root() / "bin" / name,
    ]
    for place in places:
        if place.is_file():
            return _executable(place)
    raise FileNotFoundError(
        "loom-stream was not found; `pip install ./python` builds it into the package, "
        "or name one with PLANETBRIDGING_LOOM_STREAM")


def _executable(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def call(program: Path, args: list[str], document: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Runs `loom-stream` and reads its answer. Raises RuntimeError with its message."""
    # Python writes NaN as a word that JSON does not have, and loom-stream refuses it with its place.
    text = b"" if document is None else json.dumps(document).encode()
    ended = subprocess.run([str(program), *args], input=text, capture_output=True, timeout=TIMEOUT_SECONDS)
    out, err = ended.stdout.decode("utf-8", "replace").strip(), ended.stderr.decode("utf-8", "replace").strip()
    if ended.returncode != 0:
        raise RuntimeError(f"loom-stream failed: {err or _message(out) or f'exit {ended.returncode}'}")
    answer = json.loads(out)
    if not isinstance(answer, dict) or answer.get("status") != "ok":
        raise RuntimeError(f"loom-stream failed: {_message(out)}")
    return answer


def _message(out: str) -> str:
    try:
        return str(json.loads(out)["message"])
    except (ValueError, KeyError, TypeError):
        return out


def run_loom_stream(
    *, envelope: Mapping[str, Any], payload: Mapping[str, Any], binary: StrPath | None = None
) -> dict[str, Any]:
    """Sends one layer stream."""
    return call(find_loom_stream(binary), [], {**envelope, "payload": payload})


def run_npz(
    *,
    arrays: Mapping[str, NDArray[Any]],
    manifest: Path | Mapping[str, Any],
    output: StrPath,
    fixture: Mapping[str, NDArray[Any]] | None = None,
    model: str | None = None,
    planet: str | None = None,
    options: list[str] | None = None,
    binary: StrPath | None = None,
) -> dict[str, Any]:
    """Sends arrays in the planet's own layout as files. `manifest` is a bedrock's manifest, of which
    `model` and `planet` are taken, or one model as a mapping. Without `fixture` nothing is run."""
    program = find_loom_stream(binary)
    with tempfile.TemporaryDirectory(prefix="planetbridging-") as folder:
        weights, inputs, single = (Path(folder) / name for name in ("weights.npz", "inputs.npz", "model.json"))
        _save(weights, arrays)
        if isinstance(manifest, Path):
            args = ["--manifest", str(manifest), "--model", str(model), "--planet", str(planet)]
        else:
            single.write_text(json.dumps(manifest), encoding="utf-8")
            args = ["--manifest", str(single)]
        args += ["--npz", str(weights), "--output", os.fspath(output), *(options or [])]
        if fixture is None:
            args.append("--skip-infer")
        else:
            _save(inputs, fixture)
            args += ["--fixture", str(inputs)]
        return call(program, args)


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        named: dict[str, Any] = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        np.savez(file, **named)


def _exec(name: str) -> None:
    program = PACKAGE / "_bin" / _program(name)
    if not program.is_file():
        sys.exit(f"{program}: no such file; `pip install ./python` builds it into the package")
    try:
        _executable(program)
        if sys.platform == "win32":
            sys.exit(subprocess.call([str(program), *sys.argv[1:]]))
        os.execv(program, [name, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"{program}: cannot be started: {error.strerror}")


def loom_stream() -> None:
    """The console script `loom-stream`."""
    _exec("loom-stream")


def bedrock() -> None:
    """The console script `bedrock`."""
    _exec("bedrock")
