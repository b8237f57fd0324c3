"""Streams models of the manifests from live planets, and proves the match.

    from planetbridging import engines

    result = engines.stream("cnn1", "pytorch")      # trains or builds, streams, runs, compares
    results = engines.stream_all_bedrocks("pytorch")

Planets name their arrays in their own layout; Rust relays them out. Native outputs are those of the
planet's own operators in float32, or in float64 where the manifest says that the planet's float32 loses
too many digits."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import bedrocks, fixtures, manifest, reload, weights
from ._binary import StrPath, repo_root, run_arrays
from .bedrock_ladder import run_bedrock_ladder
from .bedrocks import BEDROCK_IDS, BEDROCK_PLANETS, fixture, model, models
from .compare import label, rows
from .progress import progress
from .results import EngineStreamResult, LadderResult

_PLANET_MODULES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax", "sklearn": "sklearn"}


def available_planets(bedrock: str) -> tuple[str, ...]:
    """The planets that have a bedrock."""
    return BEDROCK_PLANETS[bedrocks.info(bedrock).id]


def installed_planets(bedrock: str | None = None) -> tuple[str, ...]:
    """Those that can be imported here."""
    known = available_planets(bedrock) if bedrock else tuple(_PLANET_MODULES)
    return tuple(planet for planet in known if importlib.util.find_spec(_PLANET_MODULES[planet]) is not None)


@dataclass(frozen=True)
class Live:
    """A model on its planet: its arrays, what it is fed, and what it computes."""

    model: manifest.Model
    arrays: dict[str, NDArray[Any]]
    fixture: dict[str, NDArray[Any]]
    native: NDArray[np.float64]
    note: str | None

    @property
    def inputs(self) -> list[NDArray[Any]]:
        """What the model sees of the fixture."""
        return [np.ascontiguousarray(i.of(self.fixture)) for i in self.model.inputs]

    def described(self, planet: str) -> dict[str, Any]:
        """What its arrays belong to, as the bridge reads it."""
        inputs = [{"array": i.array, "take": list(i.take)} for i in self.model.inputs]
        return {"planet": planet, "model_id": self.model.id, "inputs": inputs, "reads": self.model.reads,
                "skips": self.model.skips, "layers": self.model.layers}


def build(bedrock: str, planet: str, *, model_id: str | None = None, root: StrPath | None = None) -> Live:
    """Builds a model on its planet, with weights that are drawn, trained, or trained before."""
    wanted = model(bedrock, model_id)
    if planet not in wanted.planets:
        raise ValueError(f"{planet} has no {wanted.id}; {', '.join(wanted.planets)} have")
    if planet not in installed_planets():
        raise ImportError(f"{planet} is not installed; `pip install 'planetbridging[{planet}]'`")
    from . import planets

    handler, arrays = planets.handler(planet), fixture(wanted)
    inputs = [i.of(arrays) for i in wanted.inputs]
    live = handler.build(wanted, "float32")
    if "trained" in wanted.weights:
        if planet == "pytorch":
            planets.load_triton()
        kept = repo_root(root) / ".planetbridging" / "models" / wanted.bedrock / planet / wanted.id
        _train(handler, live, wanted, inputs, kept)
    else:
        live.assign(weights.draw(wanted))
    precision, why = wanted.reference(planet)
    if precision == "float64":
        exact = handler.build(wanted, precision)
        exact.restore(live.arrays())
        y = handler.forward(exact, inputs, precision)
    else:
        y = handler.forward(live, inputs, precision)
    if wanted.chain[-1].kind.startswith("cnn") and getattr(getattr(live, "ops", None), "channels_last", False):
        y = np.moveaxis(y, -1, 1)
    return Live(wanted, live.arrays(), arrays, rows(y), f"native in {precision}: {why}" if why else None)


def _train(handler: Any, live: Any, wanted: manifest.Model, inputs: list[NDArray[Any]], kept: Path) -> None:
    """Trains, or takes the weights of a training that was completed before."""
    recipe = wanted.weights["trained"]
    told = {"recipe": recipe, "layers": list(wanted.layers)}
    if (kept / ".complete").is_file() and json.loads((kept / "meta.json").read_text()) == told:
        with np.load(kept / "weights.npz") as arrays:
            live.restore(dict(arrays))
        return
    first = wanted.inputs[0]
    source = bedrocks.recipes(wanted.bedrock)[first.array]
    width = int(np.prod(handler.forward(live, inputs, "float32").shape[1:]))
    x, y = fixtures.training(source, first.take, width)
    handler.train(live, x, y, recipe["epochs"], recipe["batch_size"], recipe["learning_rate"])
    kept.mkdir(parents=True, exist_ok=True)
    (kept / ".complete").unlink(missing_ok=True)
    with (kept / "weights.npz").open("wb") as file:
        np.savez_compressed(file, **live.arrays())
    (kept / "meta.json").write_text(json.dumps(told))
    (kept / ".complete").touch()


def stream(
    bedrock: str,
    planet: str,
    *,
    model_id: str | None = None,
    root: StrPath | None = None,
    binary: StrPath | None = None,
    out_dir: StrPath | None = None,
    try_welvet: bool = False,
    max_samples: int = 5,
) -> EngineStreamResult:
    """Streams a model of a live planet into an `.entity` and compares the planet's own forward with
    Loom's; with `try_welvet` also with that of the entity, reloaded into this process."""
    bedrock, planet = bedrocks.info(bedrock).id, planet.lower()
    if planet not in available_planets(bedrock):
        raise ValueError(f"planet {planet!r} has no {bedrock}; {', '.join(available_planets(bedrock))} have")
    live = build(bedrock, planet, model_id=model_id, root=root)
    folder = Path(out_dir) if out_dir else repo_root(root) / ".planetbridging" / "stream" / bedrock / planet
    answer = run_arrays(
        model=live.described(planet), arrays=live.arrays,
        fixture={i.array: live.fixture[i.array] for i in live.model.inputs},
        output=folder / f"{live.model.id}.entity", binary=binary)
    loom = rows(answer["outputs"])
    found: dict[str, Any] = {
        "bedrock": bedrock, "planet": planet, "model_id": live.model.id, "layer_count": answer["layer_count"],
        "entity_path": answer["entity_path"], "native": live.native, "loom_stream": loom,
        "native_vs_loom": label(live.native, loom), "native_note": live.note,
    }
    if not try_welvet:
        return EngineStreamResult(**found, welvet_note="reload not asked for")
    return EngineStreamResult(**found, **reloaded(live, found["entity_path"], loom, max_samples))


def reloaded(live: Live, entity: str, loom: NDArray[np.float64], samples: int) -> dict[str, Any]:
    """The third rung for the first samples: outputs, and the labels of both comparisons."""
    try:
        wanted = live.model
        inputs = [x[:samples] for x in live.inputs]
        y = reload.run(entity, inputs, reads=wanted.reads, skips=wanted.skips)
    except (ImportError, OSError, ValueError) as error:
        return {"welvet_note": f"reload failed: {error}"}
    return {"welvet": y, "native_vs_welvet": label(live.native[:samples], y), "loom_vs_welvet": label(loom[:samples], y)}


def ladder(bedrock: str, planet: str = "numpy", **options: Any) -> LadderResult:
    """Three rungs: native, loom-stream, reloaded entity. `numpy`: the NumPy reference as native."""
    if planet == "numpy":
        return run_bedrock_ladder(bedrock, **options)
    options.setdefault("try_welvet", True)
    return LadderResult(**stream(bedrock, planet, **options).__dict__)


def stream_all_bedrocks(
    planet: str, *, root: StrPath | None = None, binary: StrPath | None = None, try_welvet: bool = False
) -> list[EngineStreamResult]:
    """Every bedrock that a planet has. What fails becomes a row with the label ERROR."""
    if planet not in installed_planets():
        raise ImportError(f"{planet} is not installed; `pip install 'planetbridging[{planet}]'`")
    wanted = [bedrock for bedrock in BEDROCK_IDS if planet in available_planets(bedrock)]
    return [_row(bedrock, planet, root=root, binary=binary, try_welvet=try_welvet)
            for bedrock in progress(wanted, planet)]


def stream_all_planets(
    bedrock: str,
    *,
    root: StrPath | None = None,
    binary: StrPath | None = None,
    model_id: str | None = None,
    try_welvet: bool = False,
) -> list[EngineStreamResult]:
    """One bedrock on every planet that is installed. What fails becomes a row with the label ERROR."""
    return [_row(bedrock, planet, model_id=model_id, root=root, binary=binary, try_welvet=try_welvet)
            for planet in progress(list(installed_planets(bedrock)), bedrock)]


def _row(bedrock: str, planet: str, **options: Any) -> EngineStreamResult:
    try:
        return stream(bedrock, planet, **options)
    except Exception as error:  # any planet may fail in ways of its own; the others go on
        return EngineStreamResult.failed(bedrock, planet, error)
