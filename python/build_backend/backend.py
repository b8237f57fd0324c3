"""Builds the wheel: maturin makes it, with the extension module; the two programs and the manifests
are put beside the module first. (maturin packs a library or programs, not both.)"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin
from maturin import *  # noqa: F403  (hooks that need nothing of ours)

HERE = Path(__file__).resolve().parents[1]
PROGRAMS = ("bedrock", "loom-stream")


def _carry() -> None:
    """Compiles the programs and copies what the package carries."""
    root = HERE.parent
    if not (root / "runner").is_dir():
        raise RuntimeError(f"{root}: the Rust sources are not beside the package; install from a checkout")
    subprocess.run(["cargo", "build", "--release", "--package", "loom-runner", "--bins"], cwd=root, check=True)
    out = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"],
                         cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    import json

    target = Path(json.loads(out)["target_directory"]) / "release"
    package = HERE / "planetbridging"
    suffix = ".exe" if sys.platform == "win32" else ""
    for folder in ("_bin", "_manifests"):
        shutil.rmtree(package / folder, ignore_errors=True)
        (package / folder).mkdir()
    for name in PROGRAMS:
        shutil.copy2(target / f"{name}{suffix}", package / "_bin")
        if sys.platform != "win32":
            subprocess.run(["strip", str(package / "_bin" / name)], check=False)
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
