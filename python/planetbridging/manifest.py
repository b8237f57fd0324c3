"""Reads the manifests: which models a bedrock declares and what they are fed.

The Rust runner is the strict reader; it refuses anything unknown before Python is called.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ._extension import extension
from .mistake import Mistake


class _Loader(yaml.SafeLoader):
    """Reads `1e-6` as a number, as YAML 1.2 and the runner do; PyYAML follows YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"), list("-+.0123456789"))


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
    """As the manifest has them: `{kind: config}`."""
    reads: dict[int, int] = field(default_factory=dict)
    skips: dict[int, int] = field(default_factory=dict)
    overrides: tuple[dict[str, Any], ...] = ()

    @functools.cached_property
    def chain(self) -> tuple[Layer, ...]:
        """The layers as the core reads them."""
        return tuple(layer(f"layers.{i}", json.dumps(spec)) for i, spec in enumerate(self.layers))

    def walk(self) -> Iterator[Layer]:
        """Every layer, containers before what they hold."""
        return (found for layer in self.chain for found in layer.walk())

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


@dataclass(frozen=True)
class Layer:
    """A layer as the Loom core reads it."""

    path: str
    """Its place in the model: `layers.3.sequential_layers.1`."""
    kind: str
    config: dict[str, Any]
    """Its configuration, every default said."""
    roles: dict[str, tuple[int, ...]]
    """The shapes of its weights in Loom's layout, in the order in which they are packed."""
    children: tuple[Layer, ...]
    """The layers inside."""

    def walk(self) -> Iterator[Layer]:
        """This layer, then what it holds."""
        yield self
        for child in self.children:
            yield from child.walk()


def layer(path: str, spec: str) -> Layer:
    """The layer at a path from `{kind: config}` in JSON."""
    try:
        whole, roles, inside = extension().layer(spec)
    except ValueError as error:
        raise Mistake(f"{path}: {error}") from error
    [(kind, config)] = json.loads(whole).items()
    return Layer(path, kind, config, roles, tuple(layer(f"{path}.{name}", child) for name, child in inside))
