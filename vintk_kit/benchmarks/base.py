"""What a benchmark is: architectures of one space with trained accuracies, and what is known about the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vintk_kit.errors import InputError
from vintk_kit.spaces import Architecture, get_space


@dataclass(frozen=True)
class Benchmark:
    """Architectures with trained accuracy.

    Attributes:
        name: Registry name.
        space: Search space whose networks the labels belong to.
        frame: One row per architecture: key, architecture (JSON), params, cell (text; architectures of one cell share
            their coarse choices) and the accuracy columns, in per cent.
        accuracies: The accuracy columns.
        target: The one to predict by default.
        num_classes: Classes of the head whose parameters `params` counts.
        metadata: data, protocol, source, noise, defects: what to know before trusting a tau.
        scoring: Options of `score` that fit the benchmark, such as image_size.
    """

    name: str
    space: str
    frame: pd.DataFrame
    accuracies: tuple[str, ...]
    target: str
    num_classes: int
    metadata: dict[str, str] = field(default_factory=dict)
    scoring: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Entry:
    """A benchmark of the registry before its file is read.

    Attributes:
        name: Registry name.
        space: Search space.
        read: Reads the file into records of choices and accuracies.
        file: File name it is looked for by.
        url: Where the public original lies, or None.
        sha256: Beginning of the file's SHA-256 as far as known.
        target: Accuracy to predict.
        num_classes: Classes of the head.
        cell: Choices that make a cell.
        metadata: As in `Benchmark`.
        scoring: As in `Benchmark`.
    """

    name: str
    space: str
    read: Callable[[Path], list[dict[str, Any]]]
    file: str
    url: str | None
    sha256: str
    target: str
    num_classes: int
    cell: tuple[str, ...]
    metadata: dict[str, str]
    scoring: dict[str, Any] = field(default_factory=dict)


def make_frame(
    records: list[dict[str, Any]], space_name: str, cell: tuple[str, ...], num_classes: int, where: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Turns records into the frame of a benchmark.

    Args:
        records: Each with `choices` (a dict for `SearchSpace.architecture`, or an `Architecture`) and `accuracies`.
        space_name: Search space.
        cell: Choices that make a cell.
        num_classes: Classes of the head, for the parameter count.
        where: Name of the file, for messages.

    Returns:
        The frame and the names of its accuracy columns.

    Raises:
        InputError: Naming row and field, if an architecture is malformed or an accuracy is no percentage.
    """
    if not records:
        raise InputError(f"{where}: got no rows; allowed: at least one architecture with an accuracy")
    space = get_space(space_name)
    rows = []
    for index, record in enumerate(records):
        try:
            choices = record["choices"]
            arch = choices if isinstance(choices, Architecture) else space.architecture(**choices)
        except InputError as error:
            raise InputError(f"{where}: row {index}: {error}") from error
        for name, value in record["accuracies"].items():
            _check_accuracy(value, f"{where}: row {index}: {name}")
        about = arch.as_dict()
        about = about.get("choices", about)
        rows.append({
            "key": arch.key, "architecture": arch.to_json(),
            "params": space.params(arch, num_classes=num_classes),
            "cell": ",".join(str(about[name]) for name in cell), **record["accuracies"],
        })  # fmt: skip
    names = tuple(records[0]["accuracies"])
    frame = pd.DataFrame(rows)
    if frame["key"].duplicated().any():
        frame = frame.groupby("key", sort=False, as_index=False).agg(
            {name: "first" for name in frame if name not in ("key", *names)} | dict.fromkeys(names, "mean")
        )
    return frame, names


def _check_accuracy(value: Any, where: str) -> None:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    if not missing and not (isinstance(value, (int, float)) and 0 <= value <= 100):
        raise InputError(f"{where}: got {value!r}; allowed: a percentage from 0 to 100")
