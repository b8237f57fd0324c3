"""Reads the manifests: which models a bedrock declares and what they are fed.

The Rust runner is the strict reader; it refuses anything unknown before Python is called.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads `1e-6` as a number, as YAML 1.2 and the runner do; PyYAML follows YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"), list("-+.0123456789"))


class Mistake(ValueError):
    """What a manifest asks for cannot be: said without a traceback."""


@dataclass(frozen=True)
class Input:
    """A slice of a fixture array: the first extents of every axis but the batch axis."""

    array: str
    take: tuple[int, ...] = ()

    def of(self, arrays: dict[str, Any]) -> Any:
        return arrays[self.array][(slice(None), *(slice(0, n) for n in self.take))]


@dataclass(frozen=True)
class Model:
    """One model of a manifest, with the bedrock's fixture recipes."""

    bedrock: str
    id: str
    planets: tuple[str, ...]
    inputs: tuple[Input, ...]
    weights: dict[str, Any]
    layers: tuple[dict[str, Any], ...]
    reads: dict[int, int] = field(default_factory=dict)
    skips: dict[int, int] = field(default_factory=dict)
    overrides: tuple[dict[str, Any], ...] = ()

    def reference(self, planet: str) -> tuple[str, str | None]:
        """The precision of the planet's forward that outputs are held against, and why it is not float32."""
        for override in self.overrides:
            if fnmatch.fnmatch(planet, override.get("planet", "*")) and override.get("reference") == "float64":
                return "float64", override["why"]
        return "float32", None

    @property
    def seed(self) -> int:
        """The original's rule: 42 plus the character codes of the id."""
        return 42 + sum(map(ord, self.id))


@dataclass(frozen=True)
class Bedrock:
    id: str
    fixture: dict[str, Any]
    models: tuple[Model, ...]


def load(path: Path) -> Bedrock:
    """Reads one manifest file."""
    try:
        return _bedrock(yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader))
    except OSError as error:
        raise Mistake(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Mistake(f"{path}: not UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise Mistake(f"{path}: {' '.join(str(error).split())}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{path}: not a manifest of a bedrock: {type(error).__name__} {error}") from error


def _bedrock(document: Any) -> Bedrock:
    models = []
    for entry in document["models"]:
        models.append(Model(
            bedrock=document["bedrock"],
            id=entry["id"],
            planets=tuple(entry.get("planets", document["planets"])),
            inputs=tuple(Input(i["array"], tuple(i.get("take", ()))) for i in entry["inputs"]),
            weights=entry["weights"],
            layers=tuple(entry["layers"]),
            reads={int(k): v for k, v in entry.get("reads", {}).items()},
            skips={int(k): v for k, v in entry.get("skips", {}).items()},
            overrides=tuple(entry.get("overrides", ())),
        ))
    return Bedrock(document["bedrock"], document["fixture"], tuple(models))


def kind_of(layer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`{kind: config}` as a pair."""
    [(kind, config)] = layer.items()
    return kind, config or {}


def children(kind: str, config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The layers inside a container, with the last part of their paths."""
    if kind == "sequential":
        return [(f"sequential_layers.{i}", c["layer"]) for i, c in enumerate(config["steps"])]
    if kind == "parallel":
        return [(f"parallel_branches.{i}", c["layer"]) for i, c in enumerate(config["branches"])]
    return []
