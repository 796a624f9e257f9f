"""Data sets that the user has as files: Fashion-MNIST, CIFAR-10 and -100, a folder of images per class."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from vintk_kit.data.base import ArrayImages, Dataset
from vintk_kit.errors import DataMissingError

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file, plain or gzip, as uint8 array."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    dimensions = content[3]
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


@cache
def _fashion(folder: Path, split: str) -> ArrayImages:
    prefix = "train" if split == "train" else "t10k"
    arrays = []
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        found = [folder / f"{prefix}-{kind}{suffix}" for suffix in (".gz", "")]
        path = next((path for path in found if path.exists()), None)
        if path is None:
            raise FASHION_MNIST.missing(f"{found[0]} is absent")
        arrays.append(_read_idx(path))
    images = np.repeat(arrays[0][..., None], 3, axis=-1)
    labels = arrays[1].astype(np.int64)
    return ArrayImages(images, labels, FASHION_CLASSES, f"fashion-mnist-{split}-28", (0.2860,) * 3, (0.3530,) * 3)


def load_fashion(root: Path, split: str, size: int) -> ArrayImages:
    """60,000 train and 10,000 test garments, 28 x 28 grey, repeated to three channels."""
    torchvision = root / "FashionMNIST" / "raw"
    return _fashion(torchvision if torchvision.exists() else DEBIAN_FASHION, split)


def _cifar(root: Path, split: str, hundred: bool) -> ArrayImages:
    from torchvision.datasets import CIFAR10, CIFAR100

    entry, factory = (CIFAR100_SET, CIFAR100) if hundred else (CIFAR10_SET, CIFAR10)
    try:
        data = factory(str(root), train=split == "train", download=False)
    except RuntimeError as error:
        raise entry.missing(f"no complete copy in {root}") from error
    mean, std = (
        ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
        if hundred
        else (
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
        )
    )
    labels = np.asarray(data.targets, np.int64)
    return ArrayImages(data.data, labels, tuple(data.classes), f"{entry.name}-{split}-32", mean, std)


def load_cifar10(root: Path, split: str, size: int) -> ArrayImages:
    """50,000 train and 10,000 test photographs of ten classes, 32 x 32; torchvision checks the files' md5."""
    return _cifar(root, split, hundred=False)


def load_cifar100(root: Path, split: str, size: int) -> ArrayImages:
    """50,000 train and 10,000 test photographs of a hundred classes, 32 x 32."""
    return _cifar(root, split, hundred=True)


class ImageFiles(Sequence):
    """Image files opened when indexed, as uint8 (h, w, 3)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        path = self.paths[index]
        try:
            with Image.open(path) as file:
                return np.asarray(file.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise DataMissingError(f"image {path}: cannot be read ({error})") from error


def load_folder(root: Path, split: str, size: int) -> ArrayImages:
    """Images under ROOT/SPLIT/CLASS/ (or ROOT/CLASS/ when there are no split folders), classes in sorted order."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    names = {"train": ("train",), "test": ("test", "val")}[split]
    base = next((root / name for name in names if (root / name).is_dir()), root)
    if base == root and split == "test" and (root / "train").is_dir():
        raise IMAGEFOLDER.missing(f"{root} has train/ but neither test/ nor val/")
    folders = sorted(path for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
    files = [
        (path, label)
        for label, folder in enumerate(folders)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMG_EXTENSIONS
    ]
    if not files:
        raise IMAGEFOLDER.missing(f"no images in class folders under {base}")
    labels = np.array([label for _, label in files], np.int64)
    images = ImageFiles([path for path, _ in files])
    classes = tuple(folder.name for folder in folders)
    return ArrayImages(images, labels, classes, f"imagefolder-{root.name}-{split}", IMAGENET_MEAN, IMAGENET_STD)


FASHION_MNIST = Dataset(
    name="fashion-mnist",
    load=load_fashion,
    num_classes=10,
    image_size=28,
    summary="garments, grey, 60,000 + 10,000",
    licence="MIT (Zalando)",
    how="get it with: apt-get install dataset-fashion-mnist, or: vintk datasets --download fashion-mnist",
)
CIFAR10_SET = Dataset(
    name="cifar10",
    load=load_cifar10,
    num_classes=10,
    image_size=32,
    summary="photographs, 50,000 + 10,000",
    licence="no clear licence; for research",
    how="get it with: vintk datasets --download cifar10, or point --root (or VINTK_DATA) at torchvision's copy",
)
CIFAR100_SET = Dataset(
    name="cifar100",
    load=load_cifar100,
    num_classes=100,
    image_size=32,
    summary="photographs, 50,000 + 10,000",
    licence="no clear licence; for research",
    how="get it with: vintk datasets --download cifar100, or point --root (or VINTK_DATA) at torchvision's copy",
)
IMAGEFOLDER = Dataset(
    name="imagefolder",
    load=load_folder,
    num_classes=None,
    image_size=None,
    summary="your own images: ROOT/train/CLASS/*.jpg and ROOT/test/CLASS/*.jpg",
    licence="yours",
    how="point --root (or VINTK_DATA) at a folder with one sub-folder per class",
)
