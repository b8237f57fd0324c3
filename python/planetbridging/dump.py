"""Dumps goldens: `python -m planetbridging.dump --planet pytorch --manifests manifests --out DIR`.

For every model: the live arrays by role in the planet's own layout, the planet's output in
float32, and the planet's output computed in float64 from the same numbers. Writes
`DIR/<bedrock>/<planet>/<model>.npz` and `DIR/<bedrock>/<planet>/meta.json`; with
`--planet fixture`, `DIR/<bedrock>/fixture.npz`.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import BEDROCK_IDS, PLANETS, fixtures, manifest, planets, weights


def dump_fixture(bedrock: manifest.Bedrock, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: fixtures.array(recipe) for name, recipe in sorted(bedrock.fixture.items())}
    np.savez_compressed(folder / "fixture.npz", **arrays)
    meta = {
        "packages": {name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn")},
        "flags": {},
        "handler": source_hash("fixtures"),
        "seeds": {},
    }
    (folder / "fixture.json").write_text(json.dumps(meta, indent=1, sort_keys=True))


def dump_model(handler: ModuleType, bedrock: manifest.Bedrock, model: manifest.Model) -> dict[str, np.ndarray]:
    """The arrays of one model's golden file."""
    # Loom's inputs are float32: every planet, in either precision, gets the rounded numbers.
    arrays = {i.array: fixtures.array(bedrock.fixture[i.array]) for i in model.inputs}
    inputs = [i.of(arrays).astype(np.float32) for i in model.inputs]
    live = handler.build(model, "float32")
    [(recipe, options)] = model.weights.items()
    if recipe == "trained":
        first = model.inputs[0]
        width = int(np.prod(handler.forward(live, inputs, "float32").shape[1:]))
        x, y = fixtures.training(bedrock.fixture[first.array], first.take, width)
        handler.train(live, x, y, options["epochs"], options["batch_size"], options["learning_rate"])
    else:
        live.assign(weights.draw(model))
    found = live.arrays()
    exact = handler.build(model, "float64")
    exact.restore(found)
    found["output"] = handler.forward(live, inputs, "float32")
    found["output_f64"] = handler.forward(exact, inputs, "float64")
    for name, value in found.items():
        want = np.float64 if name == "output_f64" else np.float32
        if value.dtype != want:
            raise TypeError(f"{model.id}: {name} came out as {value.dtype}, expected {np.dtype(want)}")
    return {name: np.ascontiguousarray(found[name]) for name in sorted(found)}


def source_hash(*modules: str) -> str:
    """A digest of the sources that produced a file."""
    here = Path(__file__).parent
    names = sorted({"manifest", "weights", *modules})
    return hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in names)).hexdigest()


def dump_planet(planet: str, bedrock: manifest.Bedrock, folder: Path, pattern: str) -> None:
    models = [m for m in bedrock.models if planet in m.planets and fnmatch.fnmatch(m.id, pattern)]
    if not models:
        return
    handler = planets.handler(planet)
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        arrays: dict[str, Any] = dump_model(handler, bedrock, model)
        np.savez_compressed(folder / f"{model.id}.npz", **arrays)
        print(f"{bedrock.id}/{planet}/{model.id}", file=sys.stderr, flush=True)
    meta = {
        "packages": {name: importlib.metadata.version(name) for name in handler.PACKAGES},
        "flags": handler.FLAGS,
        "handler": source_hash("fixtures", "planets/chain", f"planets/{planet}", f"planets/naming/{planet}"),
        "seeds": {model.id: model.seed for model in models},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m planetbridging.dump", description=__doc__)
    parser.add_argument("--planet", required=True, choices=("fixture", *PLANETS))
    parser.add_argument("--bedrock", action="append", choices=BEDROCK_IDS, help="all when absent")
    parser.add_argument("--model", default="*", help="glob of model ids")
    parser.add_argument("--manifests", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    for name in args.bedrock or BEDROCK_IDS:
        bedrock = manifest.load(args.manifests / f"{name}.yaml")
        if args.planet == "fixture":
            dump_fixture(bedrock, args.out / name)
        else:
            dump_planet(args.planet, bedrock, args.out / name / args.planet, args.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
