"""Three rungs for each bedrock: NumPy reference, loom-stream, the entity reloaded in this process."""

from __future__ import annotations

from typing import Any

from . import bedrocks
from ._binary import StrPath
from .bedrock_smoke import smoke
from .compare import label
from .reload import infer_bedrock_entity
from .progress import progress
from .results import LadderResult


def run_bedrock_ladder(
    bedrock: str,
    *,
    root: StrPath | None = None,
    model_id: str | None = None,
    binary: StrPath | None = None,
    out_dir: StrPath | None = None,
    max_samples: int = 5,
    try_welvet: bool = True,
    planet: str = "numpy",
) -> LadderResult:
    """The rungs for the first `max_samples` samples of one model."""
    wanted, inputs, result = smoke(bedrock, root=root, model_id=model_id, binary=binary, out_dir=out_dir)
    assert result.native_reference is not None
    native, loom = result.native_reference[:max_samples], result.outputs[:max_samples]
    found: dict[str, Any] = {
        "bedrock": wanted.bedrock, "planet": planet, "model_id": wanted.id, "layer_count": result.layer_count,
        "entity_path": result.entity_path, "native": native, "loom_stream": loom,
        "native_vs_loom": label(native, loom),
    }
    if not try_welvet:
        return LadderResult(**found, welvet_note="reload not asked for")
    try:
        y = infer_bedrock_entity(wanted.bedrock, result.entity_path, *(x[:max_samples] for x in inputs),
                                 output_dim=native.shape[-1])
    except (ImportError, OSError, ValueError) as error:
        return LadderResult(**found, welvet_note=f"reload failed: {error}")
    return LadderResult(**found, welvet=y, native_vs_welvet=label(native, y), loom_vs_welvet=label(loom, y))


def run_all_bedrock_ladders(**options: Any) -> list[LadderResult]:
    """Every bedrock; what fails becomes a row with the label ERROR."""
    def one(bedrock: str) -> LadderResult:
        try:
            return run_bedrock_ladder(bedrock, **options)
        except Exception as error:  # the others go on
            return LadderResult.failed(bedrock, str(options.get("planet", "numpy")), error)
    return [one(bedrock) for bedrock in progress(list(bedrocks.STREAM_MODEL_IDS), "ladder")]
