"""From a mapped model to a file and the proof that it means the same."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from .._binary import run_arrays
from ..arrays import float32, real
from ..results import StreamResult
from .mapping import Mapped

PathLike = str | os.PathLike[str]
UNHELD = "has no field for"


def fixture_inputs(inputs: Any, fixture_version: str, root: PathLike | None) -> NDArray[Any] | None:
    """`inputs`, or the test rows of a dense fixture, or None."""
    if inputs is not None:
        return real("inputs", inputs)
    if not fixture_version:
        return None
    if root is None:
        raise ValueError("fixture_version names a fixture below root; give root= too, or inputs=")
    path = Path(root) / "python" / "dense" / "fixtures" / f"{fixture_version}.npz"
    with np.load(path) as arrays:
        return np.asarray(arrays["x_test"])


def target(
    planet: str,
    model_id: str,
    output_path: PathLike | None,
    models_dir: PathLike | None,
    root: PathLike | None,
) -> Path:
    """Where the file goes. Source: `stream.md` section 4.1."""
    for name, part in (("planet", planet), ("model_id", model_id)):
        if part in ("", ".", "..") or any(c in part for c in "/\\\0"):
            raise ValueError(f"{name} {part!r} is not a plain file name")
    if output_path is not None:
        return Path(output_path)
    if models_dir is None and root is not None:
        models_dir = Path(root) / "python" / "dense" / "models"
    if models_dir is None:
        raise ValueError("output_path, models_dir or root is needed: where the .entity goes")
    return Path(models_dir) / planet / model_id / f"{model_id}.stream.entity"


def stream(
    mapped: Mapped,
    forward: Callable[[NDArray[Any]], Any] | None,
    *,
    path: Path,
    model_id: str,
    inputs: NDArray[Any] | None,
    native_outputs: Any,
    binary: PathLike | None,
    dtype: str | None,
    entity_version: int | None,
    skip_infer: bool,
) -> StreamResult:
    """Writes the file, runs Loom on the inputs and compares with the framework's own forward."""
    if entity_version not in (None, 1, 2):
        raise ValueError(f"entity_version is {entity_version}; 1, 2 or None")
    if native_outputs is not None and (inputs is None or skip_infer):
        raise ValueError("native_outputs are compared with a run; give inputs= and leave skip_infer off")
    native: NDArray[Any] | None = None
    rows: NDArray[Any] | None = None
    if inputs is not None and not skip_infer:
        rows = mapped.fed(float32("inputs", inputs))
        if native_outputs is not None:
            native = mapped.as_loom(real("native_outputs", native_outputs))
        elif forward is not None:
            native = mapped.as_loom(np.asarray(forward(inputs)))
    model = {
        "planet": mapped.planet,
        "model_id": model_id,
        "inputs": [{"array": "x"}],
        "layers": mapped.layers,
    }
    fed = None if rows is None else {"x": rows}

    def run(version: int) -> StreamResult:
        answer = run_arrays(
            model=model, arrays=mapped.arrays, fixture=fed, output=path, entity_version=version, dtype=dtype,
            binary=binary,
        )
        found = StreamResult.of(answer, str(answer["entity_path"]), native, version)
        return replace(found, notes=mapped.notes)

    if entity_version is not None:
        return run(entity_version)
    try:
        return run(1)
    except RuntimeError as refusal:
        # Version 1 names what it cannot hold; only then is the file of version 2.
        if UNHELD not in str(refusal):
            raise
        return run(2)
