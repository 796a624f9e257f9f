"""Where runs lie on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vintk_kit.errors import InputError, StoreError


def runs_root() -> Path:
    """The folder of all runs: the variable VINTK_RUNS, or ./runs."""
    return Path(os.environ.get("VINTK_RUNS") or "runs")


def run_folder(name: str | Path, *, create: bool = True) -> Path:
    """The folder of a run.

    Args:
        name: A run name (letters, digits, `.`, `_`, `-`), placed under `runs_root()`; or a path (a `Path`, or text
            with a slash), used as it is.
        create: Make the folder if it is absent.

    Raises:
        InputError: If the name is malformed.
        StoreError: If the folder cannot be made or written, or `create` is false and it is absent.
    """
    is_path = isinstance(name, Path) or os.sep in name
    if not is_path and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise InputError(f"run name: got {name!r}; allowed: letters, digits, '.', '_' and '-', or a path")
    folder = Path(name) if is_path else runs_root() / name
    if not create:
        if not folder.is_dir():
            raise StoreError(f"run {name}: no folder {folder}")
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"run {name}: cannot create {folder} ({error.strerror})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"run {name}: no permission to write in {folder}")
    return folder
