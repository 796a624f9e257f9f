"""manifest.json of a run folder: what was asked, with which versions, on which machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vintk_kit.errors import StoreError

PACKAGES = ("vintk-kit", "torch", "torchvision", "timm", "numpy", "scipy", "pandas", "optuna", "distributed")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder; an empty dict if there is none.

    Raises:
        StoreError: If the file is there but is not readable JSON.
    """
    path = Path(folder) / "manifest.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable manifest ({error})") from error


def bind_parameters(folder: Path, section: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the parameters of one activity (`scoring`, `search`, ...), or checks them against the recorded ones.

    Args:
        folder: Run folder.
        section: Name of the activity; sections of one folder do not disturb each other.
        parameters: JSON values that decide the results. Values that don't (number of workers) do not belong here.

    Returns:
        The whole manifest.

    Raises:
        StoreError: If the section was recorded with other parameters; the message lists those that differ.
    """
    manifest = read_manifest(folder)
    wanted = json.loads(json.dumps(dict(parameters), default=str))
    recorded = manifest.get("parameters", {}).get(section)
    if recorded is not None:
        _check_same(folder, section, recorded, wanted)
        return manifest
    manifest.setdefault("parameters", {})[section] = wanted
    manifest = {**environment(), **manifest, "parameters": manifest["parameters"]}
    write_json(Path(folder) / "manifest.json", manifest)
    return manifest


def _check_same(folder: Path, section: str, recorded: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = sorted(recorded.keys() | wanted.keys())
    differ = [
        f"{name}: recorded {recorded.get(name)!r}, got {wanted.get(name)!r}"
        for name in names
        if recorded.get(name) != wanted.get(name)
    ]
    if differ:
        raise StoreError(
            f"run {folder}: its {section} was started with other parameters ({'; '.join(differ)}); "
            "allowed: the same parameters, or another run name"
        )


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that a reader, or a kill, never meets half a file.

    Raises:
        StoreError: If the disk is full or the folder not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error.strerror}); rows already stored are safe") from error


@cache
def environment() -> dict[str, Any]:
    """Versions, git revision, hardware, command line and start time of this process."""
    import torch

    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "git_revision": _git_revision(),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processors": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Revision of the checkout this package runs from, `+` appended if files differ from it; None outside git."""
    here = Path(__file__).parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
