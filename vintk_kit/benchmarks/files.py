"""Readers of benchmark files: the public originals in their formats, and tidy CSVs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vintk_kit.errors import InputError
from vintk_kit.spaces import Architecture, get_space

Records = list[dict[str, Any]]


def read_ood_vit_nas(path: Path) -> Records:
    """OoD-ViT-NAS JSON: {"0": {"net_setting": {...}, "performance": {"Imagenet": {"clean": 75.3}}}, ...}."""
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path.name}: not a JSON file: {error}") from error
    if not isinstance(entries, dict):
        raise InputError(f"{path.name}: got a {type(entries).__name__}; allowed: an object of numbered architectures")
    return [_ood_record(path.name, index, entry) for index, entry in entries.items()]


def _ood_record(file: str, index: str, entry: Any) -> dict[str, Any]:
    where = f"{file}: row {index}"
    setting = _field(_field(entry, "net_setting", where), None, where)
    depth = _field(setting, "layer_num", where)
    embed = _field(setting, "embed_dim", where)
    clean = _field(_field(_field(entry, "performance", where), "Imagenet", where), "clean", where)
    choices = {
        "embed_dim": embed[0] if isinstance(embed, list) and embed else embed, "depth": depth,
        "num_heads": tuple(_field(setting, "num_heads", where)[:depth]),
        "mlp_ratio": tuple(map(float, _field(setting, "mlp_ratio", where)[:depth])),
    }  # fmt: skip
    return {"choices": choices, "accuracies": {"imagenet_top1": clean}}


def _field(entry: Any, name: str | None, where: str) -> Any:
    if name is None:
        return entry
    if not isinstance(entry, dict) or name not in entry:
        raise InputError(f"{where}: field {name!r} is missing")
    return entry[name]


def read_vit_bench_101(path: Path) -> Records:
    """ViT-Bench-101 `.pth`: a list of dicts, read without running code from the file.

    Its column `imagenet_super_acc` is left out: it is misaligned in part.
    """
    import pickle

    import torch

    try:
        entries = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path.name}: not a ViT-Bench-101 file: {str(error).splitlines()[0]}") from error
    if not isinstance(entries, list):
        raise InputError(f"{path.name}: got a {type(entries).__name__}; allowed: a list of architectures")
    return [_bench_101_record(path.name, index, entry) for index, entry in enumerate(entries)]


def _bench_101_record(file: str, index: int, entry: Any) -> dict[str, Any]:
    where = f"{file}: row {index}"
    arch = dict(_field(entry, "arch", where))
    if "hidden_dim" in arch:
        depth = _field(arch, "depth", where)
        choices = {
            "embed_dim": arch["hidden_dim"], "depth": depth, "num_heads": tuple(arch["num_heads"][:depth]),
            "mlp_ratio": tuple(map(float, arch["mlp_ratio"][:depth])),
        }  # fmt: skip
    else:
        names = ("base_dim", "mlp_ratio", "depth", "num_heads")
        choices = {name: _frozen(_field(arch, name, where)) for name in names}
    accuracies = {name.removesuffix("_acc"): value for name, value in entry.items()
                  if name.endswith(("_base_acc", "_kd_acc"))}  # fmt: skip
    return {"choices": choices, "accuracies": accuracies}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def csv_reader(space: str, columns: dict[str, str], target: dict[str, str]) -> Callable[[Path], Records]:
    """Makes the reader of a CSV with a column per choice.

    Args:
        space: Search space.
        columns: Choice by column; a column `arch_str` or `architecture` holds the whole architecture as text.
        target: Accuracy name by column.
    """

    def read(path: Path) -> Records:
        frame = read_frame(path, [*columns, *target])
        return [_csv_record(path.name, index, row, space, columns, target)
                for index, row in enumerate(frame.to_dict("records"))]  # fmt: skip

    return read


def read_frame(path: Path, needed: list[str]) -> pd.DataFrame:
    """Reads a CSV and checks that the columns are there; lines that begin with # are comments."""
    try:
        frame = pd.read_csv(path, comment="#")
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: not a CSV: {error}") from error
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InputError(
            f"{path.name}: columns {', '.join(missing)} are missing; got {', '.join(map(str, frame.columns))}"
        )
    return frame


def _csv_record(
    file: str, index: int, row: dict[str, Any], space: str, columns: dict[str, str], target: dict[str, str]
) -> dict[str, Any]:
    accuracies = {name: row[column] for column, name in target.items()}
    for column in columns:
        if column in ("architecture", "arch_str"):
            return {"choices": _parse(file, index, column, row[column], space), "accuracies": accuracies}
    choices = {}
    for column, name in columns.items():
        value = row[column]
        if isinstance(value, str):
            try:
                value = _frozen(json.loads(value))
            except ValueError as error:
                raise InputError(f"{file}: row {index}: {column}: got {value!r}; allowed: a JSON list") from error
        choices[name] = value.item() if hasattr(value, "item") else value
    return {"choices": choices, "accuracies": accuracies}


def _parse(file: str, index: int, column: str, text: Any, space: str) -> Architecture:
    try:
        return get_space(space).parse(str(text))
    except InputError as error:
        raise InputError(f"{file}: row {index}: {column}: {error}") from error


def read_own(path: Path, space: str, target: str | None = None) -> tuple[Records, str]:
    """A tidy CSV of the user's own: a column `architecture` (JSON or the space's text form) and accuracies in per cent.

    Args:
        path: The file.
        space: Search space.
        target: Accuracy column; by default the only other numeric one, or `accuracy`.

    Returns:
        Records, and the target.
    """
    frame = read_frame(path, ["architecture"])
    known = {"params", "macs", "flops", "seconds", "seed", "index"}
    numeric = [name for name in frame.select_dtypes("number").columns if name not in known]
    target = target or ("accuracy" if "accuracy" in numeric else numeric[0] if len(numeric) == 1 else None)
    if target is None or target not in numeric:
        raise InputError(f"{path.name}: target: got {target!r}; allowed: one of {', '.join(numeric) or 'no column'}")
    return csv_reader(space, {"architecture": "architecture"}, {name: name for name in numeric})(path), target
