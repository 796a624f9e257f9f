"""Checkpoints that a kill cannot break: written beside, renamed whole, then pointed at."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

from vintk_kit.errors import StoreError
from vintk_kit.manifest import write_json


@dataclass
class Checkpoint:
    """One saved state.

    Attributes:
        folder: Where it lies.
        tensors: Weights by prefixed name (`model.`, `ema.`).
        optimizer: State of the optimizer.
        progress: Epoch, step, partial sums, history: JSON values.
    """

    folder: Path
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]
    progress: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], optimizer: dict[str, Any], progress: dict[str, Any]
) -> Path:
    """Saves a state under `folder/step-<number>` and then removes older ones.

    Raises:
        StoreError: If the disk is full or the folder not writable; the previous checkpoint stays.
    """
    target = folder / f"step-{step:08d}"
    temporary = folder / f".step-{step:08d}.{os.getpid()}"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                  temporary / "weights.safetensors")  # fmt: skip
        torch.save(optimizer, temporary / "optimizer.pt")
        (temporary / "progress.json").write_text(json.dumps(progress))
        for path in temporary.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
        write_json(folder / "last.json", {"checkpoint": target.name})
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StoreError(f"checkpoint {target}: cannot be written ({error}); the previous one is kept") from error
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    for stray in folder.glob(".step-*"):
        shutil.rmtree(stray, ignore_errors=True)
    return target


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = sorted(path for path in folder.glob("step-*") if (path / "progress.json").is_file())
    return found[-1] if found else None


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; no code from the file is run.

    Raises:
        StoreError: If a file is missing, truncated or not what it claims.
    """
    try:
        tensors = load_file(path / "weights.safetensors")
        optimizer = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
        progress = json.loads((path / "progress.json").read_text())
    except Exception as error:  # each reader has its own classes for broken files
        raise StoreError(
            f"checkpoint {path}: truncated or damaged ({type(error).__name__}: {error}); remove this folder to start"
            " again"
        ) from error
    return Checkpoint(path, tensors, optimizer, progress)


def save_weights(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes weights with JSON facts in the header, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary,
                  metadata={"vintk": json.dumps(facts)})  # fmt: skip
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error})") from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and facts of a file from `save_weights`.

    Raises:
        StoreError: If the file is absent, truncated or not of this kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["vintk"])
        return load_file(path), facts
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file of weights") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: truncated, or no weights of this project ({error})") from error
