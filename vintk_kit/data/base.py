"""What a data set and a probe batch are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from vintk_kit.errors import DataMissingError, InputError


@dataclass(frozen=True)
class ArrayImages:
    """Labelled images in memory, or read one at a time.

    Attributes:
        images: uint8 array (n, h, w, 3), or a sequence whose items are uint8 arrays (h, w, 3) of any size.
        labels: int64 array (n,).
        classes: Class names; the label is the position.
        data_id: Name, split and native size, such as `photopatch-train-32`.
        mean: Mean per channel of images scaled to [0, 1].
        std: Standard deviation per channel, same scale.
    """

    images: np.ndarray | Sequence[np.ndarray]
    labels: np.ndarray
    classes: tuple[str, ...]
    data_id: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.classes)

    def subset(self, rows: np.ndarray) -> ArrayImages:
        """The images of these rows; images that are read one at a time stay unread."""
        images = self.images[rows] if isinstance(self.images, np.ndarray) else PickedImages(self.images, rows)
        return replace(self, images=images, labels=self.labels[rows])


class PickedImages(Sequence):
    """Some of a sequence of images, which are read when indexed."""

    def __init__(self, images: Sequence[np.ndarray], rows: np.ndarray) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[int(self.rows[index])]


@dataclass(frozen=True)
class ProbeBatch:
    """The N images a proxy sees.

    Attributes:
        images: float32 (N, 3, S, S), normalised by `mean` and `std`.
        labels: int64 (N,).
        data_id: Data set, split, seed and a digest of the chosen pixels; two batches with one id are equal.
        num_classes: C of the data set.
        mean: Mean that was subtracted, per channel.
        std: Standard deviation that was divided by, per channel.

    Raises:
        InputError: If shapes disagree, there are fewer than two images or a pixel is not finite.
    """

    images: torch.Tensor
    labels: torch.Tensor
    data_id: str
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[2] != shape[3]:
            raise InputError(f"probe images: got shape {shape}; allowed: (N, 3, S, S)")
        if shape[0] < 2:
            raise InputError(f"probe batch: got {shape[0]} image(s); allowed: at least 2")
        if tuple(self.labels.shape) != shape[:1]:
            raise InputError(f"probe labels: got shape {tuple(self.labels.shape)}; allowed: ({shape[0]},)")
        if not bool(torch.isfinite(self.images).all()):
            bad = int((~torch.isfinite(self.images)).flatten(1).any(1).sum())
            raise InputError(f"probe images: got NaN or infinite pixels in {bad} image(s); allowed: finite values")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Side S in pixels."""
        return int(self.images.shape[-1])


@dataclass(frozen=True)
class Dataset:
    """An entry of the registry.

    Attributes:
        name: Registry name.
        load: `load(root, split, size)` -> ArrayImages; `size` is the wanted side, which only sets that can be cut
            from larger pictures use.
        num_classes: C, or None if it depends on the folder.
        image_size: Native side in pixels, or None.
        summary: One line: what it is.
        licence: Licence and origin of the images.
        how: How to get it when it is absent.
    """

    name: str
    load: Callable[[Path, str, int], ArrayImages] = field(repr=False)
    num_classes: int | None
    image_size: int | None
    summary: str
    licence: str
    how: str

    def missing(self, detail: str) -> DataMissingError:
        """The error for absent files: what was looked for and how to get them."""
        return DataMissingError(f"data set {self.name}: {detail}; {self.how}")


def data_root(root: str | Path | None = None) -> Path:
    """Where data sets lie: the argument, the variable VINTK_DATA, or ./data."""
    return Path(root or os.environ.get("VINTK_DATA") or "data")
