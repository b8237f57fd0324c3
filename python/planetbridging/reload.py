"""The third rung: an entity is read back into this process and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import bedrocks
from ._binary import StrPath
from ._extension import extension
from .arrays import float32
from .compare import judge, rows

WELVET_RELOAD_BEDROCKS: frozenset[str] = frozenset(bedrocks.BEDROCK_IDS)
"""Bedrocks whose entities can be reloaded: all."""
WELVET_RELOAD_SKIP: frozenset[str] = frozenset()
"""Bedrocks whose entities cannot."""


def load(path: StrPath) -> Any:
    """The network of an `.entity` or a JSON checkpoint: `planetbridging._loom.Network`."""
    return extension().Network.load(Path(path))


def run(
    path: StrPath,
    inputs: list[NDArray[Any]],
    *,
    reads: Mapping[int, int] | None = None,
    skips: Mapping[int, int] | None = None,
) -> NDArray[np.float64]:
    """Rows of the reloaded network, fed as a manifest says."""
    network = load(path)
    fed = {} if not reads and not skips else {"reads": dict(reads or {}), "skips": dict(skips or {})}
    return rows(network.forward(*inputs, **fed))


def infer_bedrock_entity(
    bedrock: str,
    entity_path: StrPath,
    inputs: ArrayLike,
    *more: ArrayLike,
    output_dim: int | None = None,
    input_dim: int | None = None,
) -> NDArray[np.float64]:
    """Runs an entity that a bedrock's stream has written: rows cut to `output_dim`.

    `more`: the skip of a residual, the token ids of a mixer with an embedding."""
    bedrock = bedrocks.info(bedrock).id
    x = float32("inputs", inputs)
    if bedrock == "dense" and input_dim is not None:
        x = x.reshape(-1, x.shape[-1])[:, :input_dim]
    network, fed = load(entity_path), [x, *(float32(f"more[{i}]", a) for i, a in enumerate(more))]
    kinds = {kind for cell in network.topology["cells"] for kind in cell["layer"]}
    if bedrock == "mixer" and kinds & {"embedding", "residual"}:
        y = network.forward(*fed, mixer=True)
    elif bedrock == "residual" and more:
        last = len(network.topology["cells"]) - 1
        y = network.forward(*fed, reads={last: 0}, skips={last: 1})
    else:
        y = network.forward(*fed)
    return rows(y.reshape(len(x), -1))[:, :output_dim]


def try_infer_bedrock_entity(
    bedrock: str, entity_path: StrPath, inputs: ArrayLike, *more: ArrayLike, **options: Any
) -> NDArray[np.float64] | None:
    """As `infer_bedrock_entity`, or None where that fails."""
    try:
        return infer_bedrock_entity(bedrock, entity_path, inputs, *more, **options)
    except (ImportError, OSError, ValueError):
        return None


def infer_dense_entity(
    entity_path: StrPath, inputs: ArrayLike, *, input_dim: int | None = None
) -> NDArray[np.float64]:
    """Runs a dense entity, biases included."""
    x = float32("inputs", inputs)
    return infer_bedrock_entity("dense", entity_path, x.reshape(1, -1) if x.ndim == 1 else x, input_dim=input_dim)


def infer_mixer_v1_entity(entity_path: StrPath, volumes: ArrayLike, *, output_dim: int = 8) -> NDArray[np.float64]:
    """Runs a mixer without an embedding. `volumes`: `[N, C, D, H, W]`."""
    x = float32("volumes", volumes)
    return infer_bedrock_entity("mixer", entity_path, x[None] if x.ndim == 4 else x, output_dim=output_dim)


def import_welvet() -> Any:
    """The class that reloads entities: our own, which takes the place of the original's runtime."""
    return extension().Network


def print_compare_ladder(
    *, title: str, native: ArrayLike, loom_stream: ArrayLike, welvet_out: ArrayLike | None = None
) -> None:
    """Prints the label of each pair of rungs, their differences, and the original bridge's label."""
    pairs = [("native → loom-stream", native, loom_stream)]
    if welvet_out is not None:
        pairs += [("native → reload", native, welvet_out), ("loom-stream → reload", loom_stream, welvet_out)]
    print(f"\n=== {title} ===")
    for name, a, b in pairs:
        apart = judge(a, b)
        print(f"  {name:<22} {apart.label:<5}  max {apart.max_abs_diff:.3e}  mean {apart.mean_abs_diff:.3e}  "
              f"NMSE {apart.nmse:.1e}  (the original's rule: {apart.original_label})")
