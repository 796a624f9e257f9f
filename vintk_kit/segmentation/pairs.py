"""Images with a class per pixel: what a data set is, how a pair is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vintk_kit.data.files import IMAGENET_MEAN, IMAGENET_STD
from vintk_kit.errors import DataMissingError, InputError

IGNORE = 255
"""Mask value of pixels that count neither in the loss nor in the scores."""


@dataclass(frozen=True)
class DensePairs:
    """Images and masks, in memory or read when indexed.

    Attributes:
        read: Position -> image uint8 (h, w, 3) and mask uint8 (h, w) of class numbers or 255 (ignored), checked.
        count: Number of pairs n.
        classes: Class names; the class number is the position.
        colours: One (r, g, b) per class, for drawing.
        data_id: Name and split, such as `bluemarble-train`.
        names: What to call each pair in messages.
        mean: Mean per channel of images scaled to [0, 1].
        std: Standard deviation per channel.
    """

    read: Callable[[int], tuple[np.ndarray, np.ndarray]] = field(repr=False)
    count: int
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = field(repr=False)
    data_id: str
    names: Sequence[str] = field(repr=False)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.read(index)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.classes)

    def subset(self, rows: Sequence[int]) -> DensePairs:
        """The pairs of these rows; files stay unread."""
        names = [self.names[row] for row in rows]
        return replace(self, read=_Picked(self.read, rows), count=len(rows), names=names)


class _Picked:
    def __init__(self, read: Callable[[int], tuple[np.ndarray, np.ndarray]], rows: Sequence[int]) -> None:
        self.read, self.rows = read, rows

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.read(int(self.rows[index]))


class FilePairs:
    """Pairs of files, opened when indexed. Picklable, so that loader processes can hold it.

    Args:
        pairs: Image and mask file of each pair.
        table: uint8 (256,): class number of each raw mask value, 255 for ignored ones.
        allowed: The raw values that may occur.
        what: Allowed raw values in words, for messages.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], table: np.ndarray, allowed: np.ndarray, what: str) -> None:
        self.pairs, self.table, self.allowed, self.what = list(pairs), table, allowed, what

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one pair.

        Raises:
            DataMissingError: If a file cannot be read.
            InputError: If the sizes differ or a mask value is out of range.
        """
        picture, labels = self.pairs[index]
        image, mask = read_image(picture), read_mask(labels)
        if image.shape[:2] != mask.shape:
            raise InputError(
                f"mask {labels}: got {mask.shape[1]} x {mask.shape[0]} pixels; allowed: the size of its image"
                f" {picture}, {image.shape[1]} x {image.shape[0]}"
            )
        found = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        wrong = found[~self.allowed[found]]
        if len(wrong):
            raise InputError(f"mask {labels}: got class ids {wrong.tolist()}; allowed: {self.what}")
        return image, self.table[mask]


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 (h, w, 3).

    Raises:
        DataMissingError: If it is absent, truncated or no image.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            return np.array(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's errors for broken files
        raise DataMissingError(f"image {path}: cannot be read ({error})") from error


def read_mask(path: Path) -> np.ndarray:
    """A mask file as uint8 (h, w); palette images give their indices.

    Raises:
        DataMissingError: If it is absent, truncated or no image.
        InputError: If it has more than one channel or values above 255.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            mask = np.array(file)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataMissingError(f"mask {path}: cannot be read ({error})") from error
    if mask.ndim != 2:
        raise InputError(f"mask {path}: got {mask.shape[-1]} channels; allowed: one channel of class ids, or a palette")
    if mask.dtype != np.uint8 and (mask.min() < 0 or mask.max() > 255):
        raise InputError(f"mask {path}: got values from {mask.min()} to {mask.max()}; allowed: 0 to 255")
    return mask.astype(np.uint8)


def palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """PASCAL VOC's colours of the first classes: bits of the class number spread over the channels."""
    colours = []
    for index in range(count):
        rgb, rest = [0, 0, 0], index
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= (rest >> channel & 1) << (7 - bit)
            rest >>= 3
        colours.append(tuple(rgb))
    return tuple(colours)


def check_num_classes(pairs: DensePairs, wanted: int, what: str) -> None:
    """Raises `InputError` if a network or run has another number of classes than the data."""
    if pairs.num_classes != wanted:
        raise InputError(
            f"classes: got {what} with {wanted}; the data set {pairs.data_id} has {pairs.num_classes}"
            f" ({', '.join(pairs.classes[:4])}, ...)"
        )
