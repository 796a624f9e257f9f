"""Masks of a trained network for images on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vintk_kit.errors import DataMissingError, InputError, StoreError
from vintk_kit.segmentation.pairs import read_image
from vintk_kit.segmentation.scores import default_inference, normalised

SUFFIXES = (".jpg", ".jpeg", ".png")


def predict_mask(network: nn.Module, image: np.ndarray, facts: dict[str, Any], **inference: Any) -> np.ndarray:
    """Class numbers uint8 (h, w) of an image uint8 (h, w, 3).

    Args:
        network: From `load_dense`.
        image: The image.
        facts: From `load_dense`: mean and std.
        inference: Options of `Inference`.
    """
    x = normalised(image, facts["mean"], facts["std"])[None]
    x = x.to(next(network.parameters()).device)
    with torch.no_grad():
        return default_inference(network, **inference)(network, x)[0].argmax(0).to(torch.uint8).cpu().numpy()


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The images among files and folders.

    Raises:
        DataMissingError: If there is none.
    """
    found = [
        file
        for path in paths
        for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        if not path.is_dir() or file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise DataMissingError(f"images: none in {', '.join(map(str, paths))}; allowed: {', '.join(SUFFIXES)} files")
    return found


def predict_files(
    network: nn.Module, facts: dict[str, Any], paths: Sequence[Path], output: Path, **inference: Any
) -> Iterator[tuple[Path, Path, np.ndarray]]:
    """Predicts images and writes palette PNGs of class numbers.

    Yields:
        Image file, mask file and mask.

    Raises:
        DataMissingError: If an image cannot be read.
        InputError: If two images have one name, or an image is smaller than the window.
        StoreError: If a mask cannot be written.
    """
    from PIL import Image

    files = image_files(paths)
    if len({path.stem for path in files}) < len(files):
        raise InputError("images: got two of one name; allowed: distinct names, as masks are named after them")
    colours = [value for colour in facts["colours"] for value in colour]
    for path in files:
        mask = predict_mask(network, read_image(path), facts, **inference)
        target = output / f"{path.stem}.png"
        picture = Image.fromarray(mask)
        picture.putpalette(colours)
        try:
            output.mkdir(parents=True, exist_ok=True)
            picture.save(target)
        except OSError as error:
            raise StoreError(f"mask {target}: cannot be written ({error})") from error
        yield path, target, mask
