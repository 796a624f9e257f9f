"""Training batches that depend on seed, epoch and step only, and splits to measure on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vintk_kit.data import ArrayImages, load_dataset
from vintk_kit.errors import InputError
from vintk_kit.training.quick import normalise, shift_and_flip, square, to_tensor
from vintk_kit.training.randomness import derived_seed, epoch_batches, held_out, rank_rows, seeded
from vintk_kit.training.recipe import Recipe

MEASURED = 256
"""Images that are measured together."""


def make_loader(dataset: Dataset, parts: Sequence[Sequence[Any]], workers: int) -> DataLoader:
    """A loader of the given batches; its processes are spawned, so that threads of this one do not matter."""
    context = "spawn" if workers else None
    return DataLoader(dataset, batch_sampler=parts, num_workers=workers, multiprocessing_context=context)


def check_batch(batch_size: int, count: int, world: int) -> None:
    """Raises `InputError` if a global batch is larger than the data or cannot be divided between the processes."""
    if batch_size > count:
        raise InputError(
            f"batch_size: got {batch_size}; allowed: at most {count} training images (what val_fraction leaves)"
        )
    if batch_size % (2 * world):
        raise InputError(f"batch_size: got {batch_size}; allowed: a multiple of {2 * world} ({world=})")


# ---- training ---------------------------------------------------------------------------------------------------


def _posterize(image: Any, bits: int, *, function: Any, **rest: Any) -> Any:
    return function(image, max(1, bits), **rest)


def _keep_one_bit(transform: Any) -> None:
    # timm's strongest posterize keeps 0 bits, which Pillow from 12 on refuses; one bit is the nearest it takes.
    for policy in transform.transforms:
        for op in getattr(policy, "ops", ()):
            if op.name.startswith("Posterize"):
                op.aug_fn = partial(_posterize, function=op.aug_fn)


class _Augmented(Dataset):
    def __init__(self, data: ArrayImages, recipe: Recipe, size: int, seed: int) -> None:
        from timm.data import create_transform

        self.data, self.seed = data, seed
        self.transform = create_transform(
            size,
            is_training=True,
            scale=(recipe.crop_scale, 1.0),
            color_jitter=recipe.color_jitter or None,
            auto_augment=recipe.auto_augment,
            interpolation="bicubic",
            mean=data.mean,
            std=data.std,
            re_prob=recipe.random_erase,
            re_mode="pixel",
        )
        _keep_one_bit(self.transform)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, int]:
        from PIL import Image

        epoch, index, copy = item
        with seeded(self.seed, epoch, index, 1, copy):
            image = self.transform(Image.fromarray(np.asarray(self.data.images[index])))
        return image, int(self.data.labels[index])


class TrainingImages:
    """Batches of the training split for one process of `world`, and the splits `val` and `test` to measure on.

    Args:
        name: Data set.
        recipe: Batch size, augmentation and share of the validation split.
        size: Side of the images.
        seed: Decides validation split, order and augmentation.
        rank: This process.
        world: Number of processes; the batch size must be a multiple of twice this.
        root: Folder of the data.

    Raises:
        InputError: If the batch does not fit, or the test split has other classes than the training split.
    """

    def __init__(
        self, name: str, recipe: Recipe, size: int, seed: int, rank: int = 0, world: int = 1,
        root: str | Path | None = None,
    ) -> None:  # fmt: skip
        whole = load_dataset(name, root=root, split="train", size=size)
        test = load_dataset(name, root=root, split="test", size=size)
        if test.classes != whole.classes:
            other = sorted(set(test.classes) ^ set(whole.classes))
            raise InputError(
                f"data set {name}: got classes in one split only: {', '.join(other)}; allowed: the same in both"
            )
        rows, held = held_out(len(whole), recipe.val_fraction, seed)
        check_batch(recipe.batch_size, len(rows), world)
        train = whole.subset(rows)
        self.recipe, self.seed, self.size, self.count = recipe, seed, size, len(train)
        self.classes, self.mean, self.std = train.classes, train.mean, train.std
        self.steps = len(train) // recipe.batch_size
        self._rows = rank_rows(recipe.batch_size, rank, world)
        self._augmented = _Augmented(train, recipe, size, seed) if recipe.auto_augment else None
        if self._augmented is None:
            self._train = normalise(to_tensor(train, size), train.mean, train.std)
            self._labels = torch.from_numpy(np.asarray(train.labels, np.int64))
        options = {"mean": train.mean, "std": train.std, "workers": recipe.workers}
        self.splits = {"val": MeasuredImages(whole.subset(held), size, **options),
                       "test": MeasuredImages(test, size, **options)}  # fmt: skip

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Step, images and labels of this process, from step `start` of an epoch on."""
        recipe = self.recipe
        batches = epoch_batches(self.count, recipe.batch_size, self.steps, self.seed, epoch, recipe.repeated_augment)
        if self._augmented is not None:
            parts = [[(epoch, *pair) for pair in batch[self._rows].tolist()] for batch in batches[start:]]
            loader = make_loader(self._augmented, parts, recipe.workers)
            for offset, (images, labels) in enumerate(loader):
                yield start + offset, images, labels
            return
        for step in range(start, self.steps):
            # The whole batch is augmented and then cut: the draws are then those of one process.
            index = batches[step][:, 0]
            draws = torch.Generator().manual_seed(derived_seed(self.seed, epoch, step, 2))
            images = shift_and_flip(self._train[index], draws, max(1, self.size // 16))
            if recipe.random_erase:
                images = self._erase(images, epoch, step)
            yield step, images[self._rows], self._labels[index][self._rows]

    def _erase(self, images: Tensor, epoch: int, step: int) -> Tensor:
        from timm.data.random_erasing import RandomErasing

        with seeded(self.seed, epoch, step, 3):
            return RandomErasing(self.recipe.random_erase, mode="pixel", device="cpu")(images.clone())


# ---- measuring --------------------------------------------------------------------------------------------------


class _Squares(Dataset):
    def __init__(self, data: ArrayImages, size: int) -> None:
        self.data, self.size = data, size

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return square(np.asarray(self.data.images[index]), self.size), int(self.data.labels[index])


class MeasuredImages:
    """Images to measure on: centre squares, resized and normalised. Files are read batch by batch, and never kept.

    Args:
        data: Images.
        size: Side.
        mean: Mean per channel, of the training.
        std: Standard deviation per channel, of the training.
        workers: Loader processes for files; images in memory need none.
    """

    def __init__(
        self, data: ArrayImages, size: int, *, mean: Sequence[float], std: Sequence[float], workers: int = 0
    ) -> None:
        self.mean, self.std = mean, std
        self._files = None if isinstance(data.images, np.ndarray) else _Squares(data, size)
        self._workers, self._count = workers, len(data)
        if self._files is None:
            self._images = normalise(to_tensor(data, size), mean, std)
            self._labels = torch.from_numpy(np.asarray(data.labels, np.int64))

    def __len__(self) -> int:
        return self._count

    def batches(self, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of one process of `world`, which takes every `world`th image."""
        parts = torch.arange(rank, self._count, world).split(MEASURED)
        if self._files is None:
            yield from ((self._images[part], self._labels[part]) for part in parts)
            return
        lists = [part.tolist() for part in parts if len(part)]
        for images, labels in make_loader(self._files, lists, self._workers):
            yield normalise(images, self.mean, self.std), labels
