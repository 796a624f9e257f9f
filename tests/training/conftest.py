"""A folder of images whose class is their colour, and a network that trains on it in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


def write_images(folder: Path, count: int, seed: int, sides: tuple[int, int] = (32, 48)) -> None:
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        place = folder / name
        place.mkdir(parents=True)
        for index in range(count):
            height, width = rng.integers(*sides, size=2)
            pixels = np.clip(np.array(colour) + rng.normal(0, 60, (height, width, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index:02d}.png")


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """ImageNet's layout in small: train/CLASS and val/CLASS, 90 and 12 images of different sizes."""
    root = tmp_path_factory.mktemp("images")
    write_images(root / "train", 30, 0)
    write_images(root / "val", 4, 1)
    return root
