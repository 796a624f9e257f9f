"""PhotoPatch-10: which photograph is this patch from? Cut from pictures that scikit-image and scikit-learn ship."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from vintk_kit.data.base import ArrayImages, Dataset

BLOCK = 96
"""Side of the squares that are wholly train or wholly test; no patch crosses their borders."""

STRIDE = 12
MIN_STD = 4.0
"""Flatter patches (in grey levels) carry no texture and are left out."""

CLASSES = (
    "astronaut",
    "cat",
    "coffee",
    "rocket",
    "motorcycle",
    "hubble",
    "retina",
    "ihc",
    "china",
    "flower",
)
MEAN, STD = (0.3942, 0.3081, 0.2720), (0.3350, 0.2553, 0.2503)


@cache
def photographs() -> dict[str, np.ndarray]:
    """The ten source pictures, uint8 (h, w, 3)."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    pictures = (
        data.astronaut(),
        data.chelsea(),
        data.coffee(),
        data.rocket(),
        data.stereo_motorcycle()[0],
        data.hubble_deep_field(),
        data.retina()[200:1200:2, 200:1200:2],
        data.immunohistochemistry(),
        load_sample_image("china.jpg"),
        load_sample_image("flower.jpg"),
    )
    return {name: np.ascontiguousarray(picture) for name, picture in zip(CLASSES, pictures, strict=True)}


def _cut(picture: np.ndarray, size: int, test: bool) -> list[np.ndarray]:
    patches = []
    height, width = picture.shape[:2]
    for top in range(0, height - size + 1, BLOCK):
        for left in range(0, width - size + 1, BLOCK):
            if ((top // BLOCK + 2 * (left // BLOCK)) % 4 == 0) != test:
                continue
            for y in range(top, min(top + BLOCK, height) - size + 1, STRIDE):
                for x in range(left, min(left + BLOCK, width) - size + 1, STRIDE):
                    patch = picture[y : y + size, x : x + size]
                    if patch.std() >= MIN_STD:
                        patches.append(patch)
    return patches


@cache
def _load(split: str, size: int) -> ArrayImages:
    per_class = [_cut(picture, size, split == "test") for picture in photographs().values()]
    images = np.stack([patch for patches in per_class for patch in patches])
    labels = np.repeat(np.arange(len(CLASSES)), [len(patches) for patches in per_class])
    images.setflags(write=False)
    return ArrayImages(images, labels.astype(np.int64), CLASSES, f"photopatch-{split}-{size}", MEAN, STD)


def load(root: Path, split: str, size: int) -> ArrayImages:
    """Cuts patches of side `size`, at least 32 and at most 96 pixels (a whole block).

    At 32 pixels: 8,326 train and 3,342 test patches. Test blocks touch train blocks but share no pixel. The task is
    texture recognition, not object recognition. `root` is not used: nothing is read from disk or the network.
    """
    return _load(split, min(max(size, 32), BLOCK))


PHOTOPATCH = Dataset(
    name="photopatch",
    load=load,
    num_classes=10,
    image_size=32,
    summary="patches of ten photographs; the class is the photograph (texture recognition)",
    licence="CC0/public domain (scikit-image photographs), CC BY 2.0 (scikit-learn's china and flower)",
    how="it is cut from pictures inside scikit-image and scikit-learn: pip install scikit-image scikit-learn",
)
