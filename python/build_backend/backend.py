"""Builds the wheel: maturin makes it, with the extension module; the two programs and the manifests
are put beside the module first. (maturin packs a library or programs, not both.)"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin
from maturin import *  # noqa: F403  (hooks that need nothing of ours)

HERE = Path(__file__).resolve().parents[1]


def _static_target() -> str | None:
    """The target of a static `loom-stream`, which starts twice as fast: on Linux, where its library
    is installed or rustup can install it."""
    about = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    host = next(line.removeprefix("host: ") for line in about.splitlines() if line.startswith("host: "))
    if "-linux-" not in host:
        return None
    target = host.rpartition("-linux-")[0] + "-linux-musl"

    def installed() -> bool:
        where = subprocess.run(["rustc", "--print", "target-libdir", "--target", target],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
        return bool(where) and Path(where).is_dir()

    if not installed() and shutil.which("rustup"):
        subprocess.run(["rustup", "target", "add", target], check=False)
    return target if installed() else None


def _programs(root: Path) -> dict[str, Path]:
    """Compiles the programs, and says where they are."""
    about = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"],
                           cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    target = Path(json.loads(about)["target_directory"])
    suffix = ".exe" if sys.platform == "win32" else ""
    subprocess.run(["cargo", "build", "--release", "--package", "loom-runner", "--bins"], cwd=root, check=True)
    made = {name: target / "release" / f"{name}{suffix}" for name in ("bedrock", "loom-stream")}
    static = _static_target()
    if static is None:
        print("loom-stream is linked dynamically: no musl target is installed", file=sys.stderr)
    else:
        subprocess.run(["cargo", "lean", "--target", static], cwd=root, check=True)
        made["loom-stream"] = target / static / "lean" / "loom-stream"
    return made


def _carry() -> None:
    """Puts what the package carries into its folder."""
    root = HERE.parent
    if not (root / "runner").is_dir():
        raise RuntimeError(f"{root}: the Rust sources are not beside the package; install from a checkout")
    package = HERE / "planetbridging"
    for folder in ("_bin", "_manifests"):
        shutil.rmtree(package / folder, ignore_errors=True)
        (package / folder).mkdir()
    for program in _programs(root).values():
        shutil.copy2(program, package / "_bin")
        if sys.platform != "win32":
            subprocess.run(["strip", str(package / "_bin" / program.name)], check=False)
    for manifest in sorted((root / "manifests").glob("*.yaml")):
        shutil.copy2(manifest, package / "_manifests")


def build_wheel(wheel_directory: str, config_settings: dict[str, Any] | None = None,
                metadata_directory: str | None = None) -> str:
    _carry()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: dict[str, Any] | None = None,
                   metadata_directory: str | None = None) -> str:
    _carry()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)
