"""Seeds, and who takes which images: functions of seed, epoch and step only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


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


def held_out(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits the numbers below `count` at random.

    Args:
        count: Number of training images.
        fraction: Share that is held out, at least one image; 0 holds out none.
        seed: The same seed gives the same split.

    Returns:
        Rows to train on and rows held out, each in ascending order.
    """
    size = max(1, round(fraction * count)) if fraction else 0
    order = np.random.default_rng([seed, 17]).permutation(count)
    return np.sort(order[size:]), np.sort(order[:size])


def epoch_batches(count: int, batch_size: int, steps: int, seed: int, epoch: int, repeats: int = 1) -> list[Tensor]:
    """Image numbers (batch, 2) of an epoch's global batches: the image, and the how manieth copy of it.

    Args:
        count: Number of training images.
        batch_size: Images per global batch.
        steps: Batches.
        seed: Seed.
        epoch: Epoch.
        repeats: Copies of an image that follow each other, each to be augmented anew; an epoch then sees the
            `repeats`th part of the images (Hoffer et al., CVPR 2020, as DeiT does it).
    """
    draw = derived_seed(seed, epoch)
    if repeats == 1:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(draw))
    else:
        from timm.data.distributed_sampler import RepeatAugSampler

        # One replica: the order is that of the global batch, whatever the number of processes.
        sampler = RepeatAugSampler(range(count), 1, 0, num_repeats=repeats, selected_round=0)
        sampler.set_epoch(draw)
        order = torch.tensor(list(sampler))
    pairs = torch.stack([order, torch.arange(len(order)) % repeats], dim=1)
    return list(pairs[: steps * batch_size].split(batch_size))
