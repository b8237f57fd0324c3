"""Dumps goldens: `python -m planetbridging.dump --planet pytorch --manifests manifests --out DIR`.

For every model: the live arrays by role in the planet's own layout, the planet's output in
float32, and the planet's output computed in float64 from the same numbers. Writes
`DIR/<bedrock>/<planet>/<model>.npz` and, when that is whole, `<model>.json` beside it, which says
what made it; with `--planet fixture`, `DIR/<bedrock>/fixture.npz` and `fixture.json`.

Ends with 2 where a manifest or an argument is mistaken, 3 where packages are not those that are
pinned, 1 where the dump itself fails. The last line on stderr says which and where.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib.metadata
import io
import json
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import PLANETS, fixtures, manifest, planets, sources, weights
from .mistake import Mistake

FAILED, MISTAKE, PACKAGES = 1, 2, 3
"""The exit statuses, beside 0."""

FIXTURE_PACKAGES = {"numpy": "numpy", "scikit-learn": "sklearn"}
REQUIREMENTS = Path(__file__).parents[1] / "requirements"


class PackageError(Exception):
    """A package is missing, or of another version than pinned."""


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


def write(path: Path, arrays: dict[str, Any], made: dict[str, Any]) -> None:
    """Writes a file and what made it. A file without its `.json`, or with another's, is no dump."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".json")
    beside.unlink(missing_ok=True)
    whole = io.BytesIO()
    np.savez_compressed(whole, **arrays)
    for target, content in (
        (path, whole.getvalue()),
        (beside, json.dumps(made | {"sha256": hashlib.sha256(whole.getvalue()).hexdigest()}, indent=1,
                            sort_keys=True).encode()),
    ):
        half = target.with_name(f"{target.name}.half")
        half.write_bytes(content)
        os.replace(half, target)


def pins(planet: str) -> dict[str, str]:
    """The versions that a checkout pins for a planet; none where the package is installed without it."""
    path = REQUIREMENTS / f"{'sklearn' if planet == 'fixture' else planet}.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {_normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def packages(planet: str, wanted: dict[str, str], any_version: bool) -> dict[str, str]:
    """The versions of the distributions that provide the wanted modules, by the names under which
    they are installed: `tensorflow` does where `tensorflow-cpu` is pinned."""
    found, missing, others = {}, [], []
    pinned = pins(planet)
    for distribution, module in wanted.items():
        name = _provider(distribution, module)
        if name is None:
            missing.append(f"{distribution} is not installed")
            continue
        found[name] = version = importlib.metadata.version(name)
        pin = pinned.get(_normal(distribution), version)
        # A local version is another build of the same release.
        if version.partition("+")[0] != pin:
            others.append(f"{name} {version} is installed, {pin} is pinned")
    if any_version:
        for what in others:
            print(f"note: {what}", file=sys.stderr)
        others = []
    if missing or others:
        raise PackageError(_cure(planet, "; ".join(missing + others)))
    return found


def _normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _provider(distribution: str, module: str) -> str | None:
    """The installed distribution of a name, or else one that provides its module."""
    try:
        importlib.metadata.version(distribution)
        return distribution
    except importlib.metadata.PackageNotFoundError:
        others = importlib.metadata.packages_distributions().get(module, [])
        return min(map(_normal, others), default=None)


def _cure(planet: str, what: str) -> str:
    file = f"{'sklearn' if planet == 'fixture' else planet}.txt"
    return f"the dump of {planet} cannot start: {what}; {sys.executable} -m pip install -r python/requirements/{file}"


def handler_of(planet: str) -> ModuleType:
    """The planet's package. Raises PackageError where a module of others is missing."""
    try:
        return planets.handler(planet)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__:
            raise
        raise PackageError(_cure(planet, f"{error.name} is not installed")) from error


class Dump:
    """A dump of one planet; `at` says how far it has come."""

    def __init__(self, planet: str, out: Path):
        self.planet, self.out, self.at = planet, out, "its imports"

    def fixtures(self, bedrocks: list[manifest.Bedrock], any_version: bool) -> None:
        made = {"packages": packages(self.planet, FIXTURE_PACKAGES, any_version), "flags": {},
                "handler": sources.digest(sources.of_fixture())}
        for bedrock in bedrocks:
            arrays = {}
            for name, recipe in sorted(bedrock.fixture.items()):
                self.at = f"{bedrock.id}/{name}"
                arrays[name] = fixtures.array(recipe)
            write(self.out / bedrock.id / "fixture.npz", arrays, made)

    def models(self, bedrocks: list[manifest.Bedrock], pattern: str, any_version: bool) -> None:
        wanted = [(b, m) for b in bedrocks for m in b.models
                  if self.planet in m.planets and fnmatch.fnmatchcase(m.id, pattern)]
        if not wanted:
            raise Mistake(f"{self.planet} has no model {pattern!r} in {', '.join(b.id for b in bedrocks)}")
        handler = handler_of(self.planet)
        versions = packages(self.planet, handler.PACKAGES, any_version)
        for bedrock, model in wanted:
            self.at = f"{bedrock.id}/{model.id}"
            arrays = dump_model(handler, bedrock, model)
            made = {"packages": versions, "flags": handler.FLAGS, "seed": model.seed,
                    "handler": sources.digest(sources.of_model(self.planet, model))}
            write(self.out / bedrock.id / self.planet / f"{model.id}.npz", arrays, made)
            print(f"{bedrock.id}/{self.planet}/{model.id}", file=sys.stderr, flush=True)


def _bedrocks(manifests: Path) -> list[str]:
    """The bedrocks that have a manifest; what all of them share and the stacks of `bedrock sizes` are none."""
    return sorted(path.stem for path in manifests.glob("*.yaml") if path.stem not in ("_defaults", "lucy"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m planetbridging.dump", description=__doc__)
    parser.add_argument("--planet", required=True, choices=("fixture", *PLANETS))
    parser.add_argument("--bedrock", action="append", metavar="ID", help="a manifest; all when absent")
    parser.add_argument("--model", default="*", help="glob of model ids")
    parser.add_argument("--manifests", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--any-version", action="store_true", help="take packages of other versions than pinned")
    args = parser.parse_args(argv)
    dump = Dump(args.planet, args.out)
    try:
        bedrocks = [manifest.load(args.manifests / f"{name}.yaml") for name in args.bedrock or _bedrocks(args.manifests)]
        if args.planet == "fixture":
            dump.fixtures(bedrocks, args.any_version)
        else:
            dump.models(bedrocks, args.model, args.any_version)
    except PackageError as error:
        print(error, file=sys.stderr)
        return PACKAGES
    except Mistake as error:
        print(error if dump.at == "its imports" else f"{dump.at}: {error}", file=sys.stderr)
        return MISTAKE
    except Exception:
        traceback.print_exc()
        print(f"the dump of {args.planet} failed in {dump.at}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
