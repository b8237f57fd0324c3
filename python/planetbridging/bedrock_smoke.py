"""One model of each bedrock through the layer stream, against the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import bedrocks, fixture_cache, reference
from ._binary import StrPath, repo_root
from .compare import rows
from .manifest import Model
from .payload import payload
from .progress import progress
from .results import SmokeResult, StreamResult
from .stream import stream_bedrock


def smoke(
    bedrock: str,
    *,
    root: StrPath | None = None,
    model_id: str | None = None,
    binary: StrPath | None = None,
    out_dir: StrPath | None = None,
) -> tuple[Model, list[NDArray[Any]], StreamResult]:
    """The model, what it is fed, and the result of its stream."""
    info, wanted = bedrocks.info(bedrock), bedrocks.model(bedrock, model_id)
    table = reference.weights(wanted)
    folder = Path(out_dir) if out_dir else repo_root(root) / ".planetbridging" / "smoke" / info.id
    document = payload(wanted, table, "numpy")
    with np.load(fixture_cache.ensure(info.id)) as arrays:
        inputs = [i.of(dict(arrays)).astype(np.float32) for i in wanted.inputs]
    native = rows(reference.forward(wanted, table, inputs).reshape(len(inputs[0]), -1))
    result = stream_bedrock(
        info.id, document, fixture_version=info.fixture_version, fixtures_dir=fixture_cache.folder(info.id),
        output_path=folder / f"{wanted.id}.entity", root=root, native_outputs=native, binary=binary)
    return wanted, inputs, result


def run_bedrock_smoke(
    bedrock: str,
    *,
    root: StrPath | None = None,
    model_id: str | None = None,
    binary: StrPath | None = None,
    out_dir: StrPath | None = None,
) -> SmokeResult:
    """Streams one model and compares it with the NumPy reference in float64."""
    wanted, _, result = smoke(bedrock, root=root, model_id=model_id, binary=binary, out_dir=out_dir)
    return SmokeResult(wanted.bedrock, wanted.id, result.layer_count, result.compare_label or "PENDING",
                       result.max_abs_diff, result.entity_path, result.original_label, result.nmse)


def run_all_bedrock_smokes(**options: Any) -> list[SmokeResult]:
    """Every bedrock; what fails becomes a row with the label ERROR."""
    def one(bedrock: str) -> SmokeResult:
        try:
            return run_bedrock_smoke(bedrock, **options)
        except Exception as error:  # the others go on
            return SmokeResult(bedrock, bedrocks.info(bedrock).stream_model_id, 0, "ERROR", None, str(error))
    return [one(bedrock) for bedrock in progress(list(bedrocks.STREAM_MODEL_IDS), "smoke")]
