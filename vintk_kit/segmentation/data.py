"""The registry of dense data sets, and probe batches for scoring dense networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from vintk_kit.data import ProbeBatch
from vintk_kit.data.base import data_root
from vintk_kit.errors import InputError, VintkError, bad_value, one_of
from vintk_kit.segmentation.bluemarble import load_bluemarble
from vintk_kit.segmentation.layouts import load_ade20k, load_cityscapes, load_voc
from vintk_kit.segmentation.pairs import IGNORE, DensePairs

SPLITS = ("train", "test")


@dataclass(frozen=True)
class DenseDataset:
    """An entry of the registry.

    Attributes:
        name: Registry name.
        load: `load(root, split)` -> DensePairs.
        num_classes: C, or None if it depends on the folder.
        summary: What it is.
        how: How to get it.
    """

    name: str
    load: Callable[[Path, str], DensePairs] = field(repr=False)
    num_classes: int | None
    summary: str
    how: str


DENSE_DATASETS: dict[str, DenseDataset] = {
    entry.name: entry
    for entry in (
        DenseDataset(
            "bluemarble", load_bluemarble, 6, "satellite tiles, 128 px, climate per pixel",
            "pip install 'vintk-kit[data]'",
        ),
        DenseDataset(
            "cityscapes", load_cityscapes, 19, "streets, 2048 x 1024, fine annotations",
            "register at cityscapes-dataset.com; --root names the folder with leftImg8bit/ and gtFine/",
        ),
        DenseDataset(
            "ade20k", load_ade20k, 150, "scenes of any size, challenge of 2016",
            "download ADEChallengeData2016; --root names it",
        ),
        DenseDataset(
            "voc", load_voc, None, "your own folder in the layout of PASCAL VOC",
            "--root names the folder with JPEGImages/ and SegmentationClass/ (and class_names.txt, ImageSets/)",
        ),
    )
}  # fmt: skip
"""Every dense data set by name; a new one is a new entry here."""


def load_pairs(name: str, *, root: str | Path | None = None, split: str = "train") -> DensePairs:
    """Loads a dense data set; files are opened when a pair is read.

    Args:
        name: A name of `DENSE_DATASETS`.
        root: Folder with the files; by default the variable VINTK_DATA, else ./data.
        split: `train` or `test` (the official validation split).

    Raises:
        InputError: If the name or split is unknown.
        DataMissingError: If files are absent, or an image has no mask.
    """
    entry = DENSE_DATASETS[one_of("dense data set", name, DENSE_DATASETS)]
    return entry.load(data_root(root), one_of("split", split, SPLITS))


def dense_table(root: str | Path | None = None) -> pd.DataFrame:
    """One row per data set: name, classes, pairs in the train and test split (missing: not here), how to get it."""
    rows = []
    for name, entry in DENSE_DATASETS.items():
        counts: dict[str, int | None] = {}
        for split in SPLITS:
            try:
                counts[split] = len(load_pairs(name, root=root, split=split))
            except VintkError:
                counts[split] = None
        rows.append({"name": name, "classes": entry.num_classes, **counts, "summary": entry.summary, "how": entry.how})
    return pd.DataFrame(rows).astype({"classes": "Int64", "train": "Int64", "test": "Int64"})


def dense_probe(name: str, *, n: int = 16, size: int = 64, seed: int = 0, root: str | Path | None = None) -> ProbeBatch:
    """Draws crops of training images for scoring; pass it as `data` to `vintk_kit.score`.

    Args:
        name: A name of `DENSE_DATASETS`.
        n: Number of crops N, at least 2, each of another image.
        size: Side S of the crops.
        seed: The same seed gives the same crops.
        root: Folder of the files.

    Returns:
        Images (N, 3, S, S), normalised. The label of a crop is its most frequent class: proxies that need labels take
        the mean of the logits over the pixels.

    Raises:
        InputError: If n or size does not fit the data.
    """
    pairs = load_pairs(name, root=root)
    if not 2 <= n <= len(pairs):
        raise bad_value("n", n, f"2 to {len(pairs)} images")
    rng, crops, labels = np.random.default_rng([seed, n, size]), [], []
    digest = hashlib.blake2b(digest_size=4)
    for index in rng.permutation(len(pairs))[:n]:
        image, mask = pairs[int(index)]
        if min(mask.shape) < size:
            raise InputError(f"size: got {size}; allowed: at most {min(mask.shape)}, the side of {pairs.names[index]}")
        top, left = (int(rng.integers(side - size + 1)) for side in mask.shape)
        crop, part = image[top : top + size, left : left + size], mask[top : top + size, left : left + size]
        known = part[part != IGNORE]
        labels.append(int(np.bincount(known).argmax()) if len(known) else 0)
        digest.update(crop.tobytes())
        crops.append(torch.from_numpy(crop.copy()).permute(2, 0, 1))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (pairs.mean, pairs.std))
    images = ((torch.stack(crops).float() / 255 - mean) / std).contiguous()
    data_id = f"{pairs.data_id}-{size}-seed{seed}-{digest.hexdigest()}"
    return ProbeBatch(images, torch.tensor(labels), data_id, pairs.num_classes, pairs.mean, pairs.std)
