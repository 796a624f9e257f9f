"""Random crops of images and masks together, and training batches made of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vintk_kit.errors import InputError
from vintk_kit.segmentation.pairs import IGNORE, DensePairs
from vintk_kit.segmentation.recipe import DenseRecipe
from vintk_kit.segmentation.scores import normalised
from vintk_kit.training.images import check_batch, make_loader
from vintk_kit.training.randomness import epoch_batches, rank_rows, seeded


class JointTransform:
    """Random resizing, crop, mirror and colour jitter of an image and its mask (torchvision's v2 on tv_tensors).

    Draws from torch's global generator. Where a shrunk image is smaller than the crop, it is filled up with grey, and
    the mask with 255.

    Args:
        recipe: Crop, scales and jitter.
    """

    def __init__(self, recipe: DenseRecipe) -> None:
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        self.recipe = recipe
        fill = {tv_tensors.Image: 127, tv_tensors.Mask: IGNORE}
        steps = [v2.RandomCrop(recipe.crop, pad_if_needed=True, fill=fill), v2.RandomHorizontalFlip()]
        if recipe.color_jitter:
            steps.append(v2.ColorJitter(*(recipe.color_jitter,) * 3))
        self.steps = v2.Compose(steps)

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (h, w, 3) and (h, w) -> the same at the size of the crop."""
        from torchvision.transforms.v2.functional import resize
        from torchvision.tv_tensors import Image, Mask

        picture = Image(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        labels = Mask(torch.from_numpy(np.array(mask)))
        low, high = self.recipe.scale_min, self.recipe.scale_max
        if high > low or low != 1:
            scale = low + (high - low) * torch.rand(()).item()
            size = [max(1, round(side * scale)) for side in mask.shape]
            picture, labels = resize(picture, size, antialias=True), resize(labels, size)
        picture, labels = self.steps(picture, labels)
        return picture.permute(1, 2, 0).numpy(), labels.numpy()


class _Crops(Dataset):
    def __init__(self, pairs: DensePairs, recipe: DenseRecipe, seed: int) -> None:
        self.pairs, self.recipe, self.seed = pairs, recipe, seed
        self.transform = JointTransform(recipe)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = item
        image, mask = self.pairs[index]
        crop = self.recipe.crop
        if mask.shape[0] < crop[0] or mask.shape[1] < crop[1]:
            raise InputError(
                f"image {self.pairs.names[index]}: got {mask.shape[1]} x {mask.shape[0]} pixels; allowed: at least the"
                f" crop, {crop[1]} x {crop[0]} (options crop_width, crop_height)"
            )
        with seeded(self.seed, epoch, index, 1):
            image, mask = self.transform(image, mask)
        return normalised(image, self.pairs.mean, self.pairs.std), torch.from_numpy(mask.copy()).long()


class DenseImages:
    """Training batches of one process of `world`; they depend on seed, epoch and step only.

    Args:
        train: Training pairs.
        recipe: Batch size and augmentation.
        seed: Decides order and augmentation.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, train: DensePairs, recipe: DenseRecipe, seed: int, rank: int = 0, world: int = 1) -> None:
        check_batch(recipe.batch_size, len(train), world)
        self.recipe, self.seed = recipe, seed
        self.classes, self.mean, self.std = train.classes, train.mean, train.std
        self.count, self.steps = len(train), len(train) // recipe.batch_size
        self._rows = rank_rows(recipe.batch_size, rank, world)
        self._crops = _Crops(train, recipe, seed)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Step, images (n, 3, h, w) and masks (n, h, w) of this process, from step `start` of an epoch on."""
        batches = epoch_batches(self.count, self.recipe.batch_size, self.steps, self.seed, epoch)
        parts = [[(epoch, int(index)) for index in batch[self._rows][:, 0]] for batch in batches[start:]]
        for offset, (images, masks) in enumerate(make_loader(self._crops, parts, self.recipe.workers)):
            yield start + offset, images, masks
