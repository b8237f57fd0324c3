"""Makes fixture arrays from the recipes that manifests name. float64, deterministic.

The recipes of the original bridge are kept to the bit, whole stream of draws included:
its arrays are prefixes of a longer train + test run of one PCG64 generator.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .mistake import Mistake

SEED, TEST = 42, 100


def _phases(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """The original draws `width` normals for each row and uses the first."""
    return rng.normal(size=(rows, width))[:, 0]


def _grid(*extents: int) -> tuple[np.ndarray, ...]:
    return tuple(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in extents), indexing="ij"))


def _dense() -> tuple[np.ndarray, int]:
    return np.random.default_rng(SEED).normal(size=(5100, 128)), 5000


def _cnn1() -> tuple[np.ndarray, int]:
    phases, (t,) = _phases(np.random.default_rng(SEED), 2100, 64), _grid(64)
    x = [np.sin(0.15 * t + p) + 0.1 * np.cos(0.07 * t + 0.5 * p) for p in phases]
    return np.stack(x)[:, None], 2000


def _cnn2() -> tuple[np.ndarray, int]:
    phases, (r, c) = _phases(np.random.default_rng(SEED), 2100, 1024), _grid(32, 32)
    x = [np.sin(0.12 * r + 0.08 * c + p) + 0.1 * np.cos(0.05 * r - 0.04 * c + 0.5 * p) for p in phases]
    return np.stack(x)[:, None], 2000


def _volume(phases: np.ndarray, extent: int) -> np.ndarray:
    d, r, c = _grid(extent, extent, extent)
    x = [np.sin(0.1 * d + 0.08 * r + 0.06 * c + p) + 0.08 * np.cos(0.05 * d - 0.04 * r + 0.5 * p) for p in phases]
    return np.stack(x)[:, None]


def _cnn3() -> tuple[np.ndarray, int]:
    return _volume(_phases(np.random.default_rng(SEED), 2100, 4096), 16), 2000


def _waves(rng: np.random.Generator, phases: np.ndarray, seq: int, width: int) -> np.ndarray:
    t, d = _grid(seq, width)
    rows = []
    for p in phases:
        rows.append(np.sin(0.11 * t + 0.07 * d + p) + 0.05 * np.cos(0.03 * t + 0.3 * p)
                    + 0.01 * rng.normal(size=(seq, width)))
    return np.stack(rows)


def _sequence(seq: int, width: int, drawn: int) -> Callable[[], tuple[np.ndarray, int]]:
    def make() -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(SEED)
        phases = _phases(rng, 164, drawn)
        return _waves(rng, phases, seq, width), 64
    return make


def _residual(name: str) -> Callable[[], tuple[np.ndarray, int]]:
    def make() -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(SEED)
        p = _phases(rng, 164, 1)
        blocks = {}
        for part, phases in (("main_train", p[:64]), ("skip_train", p[:64] + 1.7),
                             ("main_test", p[64:]), ("skip_test", p[64:] + 1.7)):
            blocks[part] = _waves(rng, phases, 4, 32)
        return np.concatenate([blocks[f"{name}_train"], blocks[f"{name}_test"]]), 64
    return make


def _embedding() -> tuple[np.ndarray, int]:
    rng, rows = np.random.default_rng(SEED), []
    for block in (64, TEST):
        for i in range(block):
            base = int(rng.integers(0, 64))
            rows.append([(base + 3 * t + 5 * i) % 64 for t in range(8)])
    return np.asarray(rows, dtype=np.float64), 64


def _mixer_volume() -> tuple[np.ndarray, int]:
    return _volume(_phases(np.random.default_rng(SEED), 164, 8), 2), 64


def _mixer_ids() -> tuple[np.ndarray, int]:
    phases, rows = _phases(np.random.default_rng(SEED), 164, 8), []
    for block in (phases[:64], phases[64:]):
        for i, p in enumerate(block):
            rows.append([float(int(abs(1000.0 * p + 7 * t + i) % 16)) for t in range(2)])
    return np.asarray(rows), 64


ORIGINAL: dict[str, Callable[[], tuple[np.ndarray, int]]] = {
    "dense": _dense,
    "cnn1": _cnn1,
    "cnn2": _cnn2,
    "cnn3": _cnn3,
    "mha": _sequence(8, 16, 128),
    "recurrent": _sequence(8, 8, 64),
    "norm": _sequence(4, 32, 1),
    "swiglu": _sequence(4, 8, 1),
    "residual_main": _residual("main"),
    "residual_skip": _residual("skip"),
    "embedding": _embedding,
    "mixer_volume": _mixer_volume,
    "mixer_ids": _mixer_ids,
}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: pixels scaled to 0..1, labels one-hot."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.data / 16.0, np.eye(10)[data.target]


def array(recipe: dict[str, Any]) -> np.ndarray:
    """The test rows of one recipe."""
    [(name, options)] = recipe.items()
    if name == "original":
        rows, train = ORIGINAL[options]()
        return rows[train:]
    if name == "digits":
        return np.asarray(digits()[0][-options["rows"]:])
    rng = np.random.default_rng(options["seed"])
    if name == "normal":
        return np.asarray(options.get("offset", 0.0) + options.get("scale", 1.0) * rng.normal(size=options["shape"]))
    if name == "integers":
        return np.asarray(rng.integers(0, options["below"], size=options["shape"]), dtype=np.float64)
    raise Mistake(f"unknown fixture recipe {name!r}")


def training(recipe: dict[str, Any], take: tuple[int, ...], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and targets of the given width, cut to what the model sees."""
    [(name, options)] = recipe.items()
    if name == "digits":
        pixels, labels = digits()
        return pixels[:-options["rows"]], labels[:-options["rows"]]
    if name != "original":
        raise Mistake(f"recipe {name!r} has no training rows")
    rows, train = ORIGINAL[options]()
    x = rows[:train][(slice(None), *(slice(0, n) for n in take))]
    return x, targets(x.reshape(len(x), -1), width)


def targets(f: np.ndarray, width: int) -> np.ndarray:
    """The original's regression targets: 8 columns of the flat sample, of which `width` are used."""
    def at(i: int) -> np.ndarray:
        return f[:, i] if i < f.shape[1] else np.zeros(len(f))
    columns = [
        np.sin(at(0)) + 0.25 * np.cos(at(1)),
        0.1 * at(2) - 0.05 * at(3),
        0.02 * np.tanh(at(4) + at(5)),
        0.01 * (at(6) ** 2 - at(7) ** 2),
        0.005 * at(8),
        0.005 * np.sin(at(9)),
        0.005 * np.cos(at(10)),
        0.002 * (at(11) + at(12)),
    ]
    return np.stack([columns[i % 8] for i in range(width)], axis=1)
