"""Finds `loom-stream` and runs it on arrays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from numpy.typing import NDArray

VARIABLE = "PLANETBRIDGING_LOOM_STREAM"


def find_loom_stream(explicit: str | os.PathLike[str] | None = None) -> Path:
    """The binary: the argument, the environment, the package's own, the search path."""
    if explicit is not None:
        if not Path(explicit).is_file():
            raise FileNotFoundError(f"loom-stream: {explicit} is not a file")
        return Path(explicit)
    named = os.environ.get(VARIABLE)
    found = shutil.which("loom-stream")
    candidates = [named, Path(__file__).parent / "_bin" / "loom-stream", found]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise FileNotFoundError(f"loom-stream was not found; give binary=, set {VARIABLE} or put it on PATH")


def run_npz(
    model: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    output_path: str | os.PathLike[str] | None = None,
    models_dir: str | os.PathLike[str] | None = None,
    binary: str | os.PathLike[str] | None = None,
    entity_version: int = 1,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Runs the binary on arrays by role and returns its answer. Without `inputs` nothing is run."""
    program = find_loom_stream(binary)
    with tempfile.TemporaryDirectory(prefix="planetbridging-") as folder:
        place = Path(folder)
        np.savez(place / "arrays.npz", **dict(arrays))  # type: ignore[arg-type]
        (place / "model.json").write_text(json.dumps(dict(model)), encoding="utf-8")
        call = [
            str(program),
            "--npz",
            str(place / "arrays.npz"),
            "--manifest",
            str(place / "model.json"),
            "--entity-version",
            str(entity_version),
        ]
        if inputs is None:
            call.append("--skip-infer")
        else:
            np.savez(place / "inputs.npz", **dict(inputs))  # type: ignore[arg-type]
            call += ["--fixture", str(place / "inputs.npz")]
        for flag, value in (("--output", output_path), ("--models-dir", models_dir), ("--dtype", dtype)):
            if value is not None:
                call += [flag, str(value)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {}
    if done.returncode != 0 or answer.get("status") != "ok":
        what = answer.get("message") or done.stderr.strip() or f"exit status {done.returncode}"
        raise RuntimeError(f"loom-stream failed: {what}")
    return dict(answer)
