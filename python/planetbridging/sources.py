"""The sources that a golden file is computed by, and their digest.

Those are the fixtures; for a planet's file also the planet's package and, for each kind of layer in
the model, its draws and its constructor; and whatever these import from this package. So a file's
digest moves when code that the file depends on moves, and no other file's does. Roles, shapes and
defaults come from the core, which no digest covers: where they change, `core.yaml` does, and `drift` shows what the planets say. The runner's tests
compute it likewise, from the text of the imports: these stand on one line each, and are relative.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from .manifest import Model

PACKAGE = Path(__file__).parent
_IMPORT = re.compile(r"^\s*from (\.+)([\w.]*) import (.+)$")
_FORBIDDEN = re.compile(r"^\s*(from \.+[\w.]* import \(|from planetbridging|import planetbridging)")


def of_fixture() -> list[str]:
    """Where the sources of fixtures start."""
    return ["fixtures.py"]


def of_model(planet: str, model: Model) -> list[str]:
    """Where the sources of a planet's file start."""
    kinds = sorted({layer.kind for layer in model.walk()})
    own = [f"{folder}/{kind}.py" for kind in kinds for folder in ("weights", f"planets/{planet}/kinds")]
    return [*of_fixture(), f"planets/{planet}/__init__.py", *(file for file in own if (PACKAGE / file).is_file())]


def digest(starts: Iterable[str], package: Path = PACKAGE) -> str:
    """SHA-256 of the files, those that they import included, one after another in order of their paths."""
    found: set[str] = set()
    open_ = list(starts)
    while open_:
        file = open_.pop()
        if file not in found:
            found.add(file)
            open_ += _imports(package, file)
    return hashlib.sha256(b"".join((package / file).read_bytes() for file in sorted(found))).hexdigest()


def _imports(package: Path, file: str) -> list[str]:
    """The files of this package that a file imports: `from X import name` is X/name, or else X."""
    found = []
    for number, line in enumerate((package / file).read_text(encoding="utf-8").splitlines(), 1):
        if _FORBIDDEN.match(line):
            raise ValueError(f"{file}:{number}: write it as one line, `from .x import y`: sources are followed by it")
        match = _IMPORT.match(line)
        if match is None:
            continue
        dots, module, names = match.groups()
        folder = file.split("/")[: -len(dots)] + [part for part in module.split(".") if part]
        for name in (part.split(" as ")[0].strip() for part in names.split(",")):
            places = ["/".join([*folder, f"{name}.py"]), "/".join([*folder, name, "__init__.py"]),
                      "/".join(folder) + ".py", "/".join([*folder, "__init__.py"])]
            here = next((place for place in places if (package / place).is_file()), None)
            if here is None:
                raise ValueError(f"{file}:{number}: there is no {module or '.'} with {name}")
            found.append(here)
    return found
