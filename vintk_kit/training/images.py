"""Training batches that depend on seed, epoch and step only: not on resuming, workers or the number of processes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vintk_kit.data import ArrayImages, load_dataset
from vintk_kit.errors import InputError
from vintk_kit.training.quick import normalise, shift_and_flip, to_tensor
from vintk_kit.training.recipe import Recipe


def derived_seed(*parts: int) -> int:
    """One 63-bit seed from several integers."""
    return int(np.random.SeedSequence(list(parts)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Seeds the global generators, which timm's augmentations draw from, and puts their states back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = derived_seed(*parts)
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def rank_rows(batch: int, rank: int, world: int) -> Tensor:
    """The rows of a global batch that a process takes: a run of the first half and its mirror image.

    Mixup pairs row i with row B - 1 - i; with these rows the pairs stay together, so mixing a part equals taking a
    part of the mixed batch.
    """
    half = batch // (2 * world)
    first = torch.arange(rank * half, (rank + 1) * half)
    return torch.cat([first, batch - 1 - first.flip(0)])


def _keep_one_bit(transform: Any) -> None:
    # timm's strongest posterize keeps 0 bits, which Pillow from 12 on refuses; one bit is the nearest it takes.
    for policy in transform.transforms:
        for op in getattr(policy, "ops", ()):
            if op.name.startswith("Posterize"):
                op.aug_fn = lambda image, bits, function=op.aug_fn, **rest: function(image, max(1, bits), **rest)


class _Augmented(Dataset):
    def __init__(self, data: ArrayImages, recipe: Recipe, size: int, seed: int) -> None:
        from timm.data import create_transform

        self.data, self.seed, self.epoch = data, seed, 0
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

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        from PIL import Image

        epoch, index = item
        with seeded(self.seed, epoch, index, 1):
            image = self.transform(Image.fromarray(np.asarray(self.data.images[index])))
        return image, int(self.data.labels[index])


class TrainingImages:
    """Batches of the training split and of the test split, for one process of `world`.

    Args:
        name: Data set.
        recipe: Batch size and augmentation.
        size: Side of the images.
        seed: Decides order and augmentation.
        rank: This process.
        world: Number of processes; the batch size must be a multiple of twice this.
        root: Folder of the data.
    """

    def __init__(
        self, name: str, recipe: Recipe, size: int, seed: int, rank: int = 0, world: int = 1,
        root: str | Path | None = None,
    ) -> None:  # fmt: skip
        train = load_dataset(name, root=root, split="train", size=size)
        test = load_dataset(name, root=root, split="test", size=size)
        if recipe.batch_size > len(train):
            raise InputError(f"batch_size: got {recipe.batch_size}; allowed: at most {len(train)} training images")
        if recipe.batch_size % (2 * world):
            raise InputError(f"batch_size: got {recipe.batch_size}; allowed: a multiple of {2 * world} ({world=})")
        self.recipe, self.seed, self.size = recipe, seed, size
        self.rank, self.world = rank, world
        self.classes, self.mean, self.std, self.data_id = train.classes, train.mean, train.std, train.data_id
        self.steps = len(train) // recipe.batch_size
        self.count = len(train)
        self._rows = rank_rows(recipe.batch_size, rank, world)
        self._augmented = _Augmented(train, recipe, size, seed) if recipe.auto_augment else None
        if self._augmented is None:
            self._train = normalise(to_tensor(train, size), train)
            self._labels = torch.from_numpy(np.asarray(train.labels, np.int64))
        self.test = normalise(to_tensor(test, size), train)
        self.test_labels = torch.from_numpy(np.asarray(test.labels, np.int64))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Step, images and labels of this process, from step `start` of an epoch on."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch))
        order = torch.randperm(self.count, generator=generator)
        batches = list(order[: self.steps * self.recipe.batch_size].split(self.recipe.batch_size))
        if self._augmented is not None:
            yield from self._loaded(epoch, start, batches)
            return
        for step in range(start, self.steps):
            # The whole batch is augmented and then cut: the draws are then those of one process.
            draws = torch.Generator().manual_seed(derived_seed(self.seed, epoch, step, 2))
            images = shift_and_flip(self._train[batches[step]], draws, max(1, self.size // 16))
            if self.recipe.random_erase:
                images = self._erase(images, epoch, step)
            yield step, images[self._rows], self._labels[batches[step]][self._rows]

    def _erase(self, images: Tensor, epoch: int, step: int) -> Tensor:
        from timm.data.random_erasing import RandomErasing

        with seeded(self.seed, epoch, step, 3):
            return RandomErasing(self.recipe.random_erase, mode="pixel", device="cpu")(images.clone())

    def _loaded(self, epoch: int, start: int, batches: list[Tensor]) -> Iterator[tuple[int, Tensor, Tensor]]:
        parts = [[(epoch, int(index)) for index in batch[self._rows]] for batch in batches[start:]]
        workers = self.recipe.workers
        loader = DataLoader(
            self._augmented,
            batch_sampler=parts,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )
        for offset, (images, labels) in enumerate(loader):
            yield start + offset, images, labels
