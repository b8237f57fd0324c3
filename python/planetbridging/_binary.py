"""The bridge: in this process, or the program `loom-stream` where one is named; and the programs that the package
carries."""

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

from ._extension import extension

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


def named_program(explicit: StrPath | None = None) -> Path | None:
    """The `loom-stream` that the caller or $PLANETBRIDGING_LOOM_STREAM names; without one the bridge is called in
    this process."""
    if explicit is None and not os.environ.get("PLANETBRIDGING_LOOM_STREAM"):
        return None
    return find_loom_stream(explicit)


def run_loom_stream(
    *, envelope: Mapping[str, Any], payload: Mapping[str, Any], binary: StrPath | None = None
) -> dict[str, Any]:
    """Sends one layer stream. Raises RuntimeError where it is refused."""
    program, document = named_program(binary), {**envelope, "payload": payload}
    if program is not None:
        return call(program, [], document)
    answer: dict[str, Any] = extension().stream(json.dumps(document).encode())
    return answer


def run_arrays(
    *,
    model: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    output: StrPath,
    fixture: Mapping[str, NDArray[Any]] | None = None,
    entity_version: int = 1,
    dtype: str | None = None,
    binary: StrPath | None = None,
) -> dict[str, Any]:
    """Sends arrays in the planet's own layout, and what they belong to: `planet`, `model_id`, `inputs`, `reads`,
    `skips` and `layers` as manifests have them. Without `fixture` nothing is run. Raises RuntimeError where it is
    refused."""
    program = named_program(binary)
    if program is None:
        answer: dict[str, Any] = extension().stream_arrays(
            json.dumps(model), _contiguous(arrays), output=os.fspath(output),
            fixture=None if fixture is None else _contiguous(fixture), entity_version=entity_version, dtype=dtype)
        return answer
    with tempfile.TemporaryDirectory(prefix="planetbridging-") as folder:
        weights, inputs, single = (Path(folder) / name for name in ("weights.npz", "inputs.npz", "model.json"))
        _save(weights, arrays)
        single.write_text(json.dumps(model), encoding="utf-8")
        args = ["--manifest", str(single), "--npz", str(weights), "--output", os.fspath(output)]
        args += ["--entity-version", str(entity_version), *([] if dtype is None else ["--dtype", dtype])]
        if fixture is None:
            args.append("--skip-infer")
        else:
            _save(inputs, fixture)
            args += ["--fixture", str(inputs)]
        return call(program, args)


def _contiguous(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: np.ascontiguousarray(value) for name, value in arrays.items()}


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, **_contiguous(arrays))


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
