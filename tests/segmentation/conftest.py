"""Miniatures of the official layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SIDE = 64


def scene(seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose bright half is class 1."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    cut = int(rng.integers(side // 4, 3 * side // 4))
    mask[:, cut:] = 1
    image = 60 + 120 * mask[..., None] + rng.integers(0, 40, (side, side, 3))
    return image.astype(np.uint8), mask


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def voc_folder(tmp_path) -> Path:
    """Ten pairs of two classes with a stripe of ignored pixels of growing width; every fifth is a test pair."""
    root = tmp_path / "shapes"
    for index in range(10):
        image, mask = scene(index)
        mask[: index + 1] = 255
        write(root / "JPEGImages" / f"{index:02d}.png", image)
        write(root / "SegmentationClass" / f"{index:02d}.png", mask)
    (root / "class_names.txt").write_text("dark\nbright\n")
    return root


@pytest.fixture
def cityscapes_folder(tmp_path) -> Path:
    """Two training pairs and a validation pair, with every label id in the mask."""
    root = tmp_path / "cityscapes"
    for split, city, frame in (("train", "aachen", "19"), ("train", "aachen", "20"), ("val", "lindau", "19")):
        name = f"{city}_000000_0000{frame}"
        image, _ = scene(1)
        mask = np.repeat(np.arange(34, dtype=np.uint8), 2)[:, None].repeat(64, 1)[:64]
        mask[0] = 255
        write(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
        write(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", mask)
    return root


@pytest.fixture
def ade_folder(tmp_path) -> Path:
    """Two training and one validation pair."""
    root = tmp_path / "ADEChallengeData2016"
    for split, names in (("training", ("ADE_train_1", "ADE_train_2")), ("validation", ("ADE_val_1",))):
        for index, name in enumerate(names):
            image, mask = scene(index)
            mask[0, :3] = (0, 1, 150)
            write(root / "images" / split / f"{name}.jpg", image)
            write(root / "annotations" / split / f"{name}.png", mask)
    return root


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
