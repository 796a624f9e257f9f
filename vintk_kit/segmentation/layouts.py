"""Data sets that the user has as files: Cityscapes, ADE20K and folders in the layout of PASCAL VOC."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from vintk_kit.errors import DataMissingError, InputError
from vintk_kit.segmentation.pairs import IGNORE, DensePairs, FilePairs, palette

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LIST_SHOWN = 3


def _check_missing(name: str, missing: Sequence[Path], total: int) -> None:
    if missing:
        shown = ", ".join(str(path) for path in missing[:LIST_SHOWN])
        more = "" if len(missing) <= LIST_SHOWN else f" and {len(missing) - LIST_SHOWN} more"
        raise DataMissingError(f"data set {name}: {len(missing)} of {total} images have no mask: {shown}{more}")


def _check_found(name: str, files: Sequence[Path], place: Path, layout: str) -> None:
    if not files:
        raise DataMissingError(f"data set {name}: no images in {place}; the layout is {layout}")


@cache
def _cityscapes_table() -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    from torchvision.datasets import Cityscapes

    table, allowed = np.full(256, IGNORE, np.uint8), np.zeros(256, bool)
    trained = sorted((c for c in Cityscapes.classes if 0 <= c.train_id < IGNORE), key=lambda c: c.train_id)
    for label in Cityscapes.classes:
        allowed[label.id % 256] = True  # the licence plate, -1, is stored as 255
    for label in trained:
        table[label.id] = label.train_id
    return table, allowed, tuple(c.name for c in trained), tuple(tuple(c.color) for c in trained)


def load_cityscapes(root: Path, split: str) -> DensePairs:
    """Fine annotations in the official layout, 34 label ids mapped to the 19 that are trained; `test` is `val`.

    ROOT/leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and ROOT/gtFine/{train,val}/CITY/*_gtFine_labelIds.png.
    """
    part = {"train": "train", "test": "val"}[split]
    base = root / "leftImg8bit" / part
    images = sorted(base.glob("*/*_leftImg8bit.png"))
    _check_found("cityscapes", images, base, "ROOT/leftImg8bit/{train,val}/CITY and ROOT/gtFine/{train,val}/CITY")
    pairs = [
        (p, root / "gtFine" / part / p.parent.name / p.name.replace("_leftImg8bit", "_gtFine_labelIds")) for p in images
    ]
    _check_missing("cityscapes", [mask for _, mask in pairs if not mask.is_file()], len(pairs))
    table, allowed, classes, colours = _cityscapes_table()
    read = FilePairs(pairs, table, allowed, "label ids 0 to 33, and 255")
    return DensePairs(read, len(pairs), classes, colours, f"cityscapes-{split}", [p.name for p in images])


def load_ade20k(root: Path, split: str) -> DensePairs:
    """The challenge of 150 classes in its official layout: label 0 is ignored, 1 to 150 become 0 to 149.

    ROOT may be ADEChallengeData2016 or the folder that holds it: images/{training,validation}/*.jpg and
    annotations/{training,validation}/*.png; `test` is `validation`. Names come from objectInfo150.txt if it is there.
    """
    if (root / "ADEChallengeData2016").is_dir():
        root = root / "ADEChallengeData2016"
    part = {"train": "training", "test": "validation"}[split]
    base = root / "images" / part
    images = sorted(base.glob("*.jpg"))
    layout = "ADEChallengeData2016/{images,annotations}/{training,validation}"
    _check_found("ade20k", images, base, layout)
    pairs = [(path, root / "annotations" / part / f"{path.stem}.png") for path in images]
    _check_missing("ade20k", [mask for _, mask in pairs if not mask.is_file()], len(pairs))
    values = np.arange(256)
    table = np.where((values >= 1) & (values <= 150), values - 1, IGNORE).astype(np.uint8)
    read = FilePairs(pairs, table, values <= 150, "0 (ignored) to 150")
    names = _ade_names(root / "objectInfo150.txt")
    return DensePairs(read, len(pairs), names, palette(151)[1:], f"ade20k-{split}", [p.name for p in images])


def _ade_names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return tuple(f"class {number}" for number in range(1, 151))
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:] if line.strip()]
    names = tuple(row[-1].strip().split(",")[0] for row in rows)
    if len(names) != 150:
        raise InputError(f"{path}: got {len(names)} classes; allowed: 150 lines after the header")
    return names


def load_voc(root: Path, split: str) -> DensePairs:
    """A folder in the layout of PASCAL VOC: JPEGImages/*.jpg (or .png) and SegmentationClass/*.png, 255 ignored.

    Splits are read from ImageSets/Segmentation/{train,val}.txt; without them every fifth image, in the order of their
    names, is the test split. Classes are the lines of class_names.txt (labelme's `__ignore__` is skipped and
    `_background_` reads background), or the 21 of PASCAL VOC.
    """
    if (root / "VOCdevkit").is_dir():
        found = sorted((root / "VOCdevkit").glob("VOC*"))
        root = found[-1] if found else root
    pictures = root / "JPEGImages"
    masks = next((root / n for n in ("SegmentationClass", "SegmentationClassPNG") if (root / n).is_dir()), None)
    files = {p.stem: p for p in sorted(pictures.glob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")}
    layout = "ROOT/JPEGImages and ROOT/SegmentationClass"
    _check_found("voc", list(files.values()) if masks else [], pictures, layout)
    stems = _voc_stems(root, split, files, masks)
    pairs = [(files[stem], masks / f"{stem}.png") for stem in stems]
    _check_missing("voc", [mask for _, mask in pairs if not mask.is_file()], len(pairs))
    classes = _voc_classes(root / "class_names.txt")
    values = np.arange(256)
    inside = values < len(classes)
    table = np.where(inside, values, IGNORE).astype(np.uint8)
    read = FilePairs(pairs, table, inside | (values == IGNORE), f"0 to {len(classes) - 1}, and 255 (ignored)")
    return DensePairs(read, len(pairs), classes, palette(len(classes)), f"voc-{root.name}-{split}", stems)


def _voc_stems(root: Path, split: str, files: dict[str, Path], masks: Path) -> list[str]:
    listing = root / "ImageSets" / "Segmentation" / {"train": "train.txt", "test": "val.txt"}[split]
    if listing.is_file():
        stems = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
        absent = [stem for stem in stems if stem not in files]
        if absent:
            raise DataMissingError(
                f"data set voc: {listing} names {absent[0]!r}, which is not in {root / 'JPEGImages'}"
            )
        return stems
    if listing.parent.is_dir():
        raise DataMissingError(f"data set voc: {listing} is absent")
    stems = list(files)
    if len(stems) < 2:
        return stems
    return [stem for index, stem in enumerate(stems) if (index % 5 == 0) == (split == "test")]


def _voc_classes(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return VOC
    names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    return tuple(name.strip("_") for name in names if name != "__ignore__")
