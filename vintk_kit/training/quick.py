"""Quick trainings without checkpoints: one architecture in seconds, for tables of trained accuracy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vintk_kit.data import load_dataset, resize
from vintk_kit.data.base import ArrayImages
from vintk_kit.errors import InputError, bad_value
from vintk_kit.spaces import Architecture, SearchSpace, get_space


@dataclass(frozen=True)
class TensorData:
    """A data set in memory.

    Attributes:
        train: Normalised training images (n, 3, S, S), float32.
        train_labels: int64 (n,).
        test: Normalised test images.
        test_labels: int64.
        classes: Class names.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


def to_tensor(data: ArrayImages, size: int) -> Tensor:
    """All images as uint8 (n, 3, S, S): centre-cropped to squares and resized, one at a time if sizes differ."""
    images = data.images
    if isinstance(images, np.ndarray) and images.shape[1:3] == (size, size):
        return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()
    out = torch.empty(len(data), 3, size, size, dtype=torch.uint8)
    for index in range(len(data)):
        out[index] = square(np.asarray(images[index]), size)
    return out


def square(image: np.ndarray, size: int) -> Tensor:
    """The central square of an image (h, w, 3), resized: uint8 (3, S, S)."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    cut = torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None]
    return resize(cut.float() / 255, size)[0].mul(255).round().to(torch.uint8)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (n, 3, S, S) to float32 with zero mean and unit deviation per channel."""
    middle, spread = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return (images.float() / 255 - middle) / spread


@lru_cache(maxsize=2)
def tensor_data(name: str, size: int, root: str | Path | None = None) -> TensorData:
    """Loads a whole data set as normalised tensors; the last two are kept in memory."""
    train = load_dataset(name, root=root, split="train", size=size)
    test = load_dataset(name, root=root, split="test", size=size)
    return TensorData(
        normalise(to_tensor(train, size), train.mean, train.std),
        torch.from_numpy(np.asarray(train.labels, dtype=np.int64)),
        normalise(to_tensor(test, size), train.mean, train.std),
        torch.from_numpy(np.asarray(test.labels, dtype=np.int64)),
        train.classes,
    )


def shift_and_flip(images: Tensor, generator: torch.Generator, pad: int) -> Tensor:
    """The light augmentation: one random shift of up to `pad` pixels per batch, and a mirror per image."""
    size = images.shape[-1]
    dy, dx = torch.randint(0, 2 * pad + 1, (2,), generator=generator).tolist()
    padded = functional.pad(images, (pad, pad, pad, pad), mode="reflect")
    moved = padded[..., dy : dy + size, dx : dx + size]
    mirror = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirror.view(-1, 1, 1, 1), moved.flip(-1), moved)


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, batch_size: int = 512) -> Tensor:
    """Logits (n, C) in evaluation mode; the mode is restored."""
    mode = network.training
    network.eval()
    logits = torch.cat([network(part) for part in images.split(batch_size)])
    network.train(mode)
    return logits


def train_quick(
    space: str | SearchSpace,
    arch: Architecture,
    data: str = "photopatch",
    seed: int = 0,
    epochs: float = 3,
    *,
    batch_size: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    smoothing: float = 0.1,
    image_size: int | None = None,
    root: str | Path | None = None,
) -> tuple[float, float]:
    """Trains one architecture from independent initial weights and measures it on the test split.

    AdamW, linear warm-up over a tenth of the steps, cosine to zero, label smoothing, mirrors and shifts. The whole
    data set stays in memory; nothing is written. Meaningful for ranking small networks, not as a final accuracy.

    Args:
        space: Search space.
        arch: Architecture.
        data: Data set name.
        seed: Decides initial weights, order and augmentation; the same seed on the same machine and thread count
            gives the same accuracy.
        epochs: Passes over the training split; a fraction ends inside a pass.
        batch_size: Images per step.
        lr: Peak learning rate.
        weight_decay: Decoupled, on matrices only.
        smoothing: Label smoothing.
        image_size: Side of the input; the space's by default.
        root: Folder of the data set.

    Returns:
        Test accuracy in [0, 1], and the seconds of the training and the test.

    Raises:
        InputError: For epochs of less than one step, or a batch larger than the training split.
    """
    space = get_space(space)
    size = image_size or space.image_size
    tensors = tensor_data(data, size, root)
    if batch_size > len(tensors.train):
        raise InputError(f"batch_size: got {batch_size}; allowed: at most {len(tensors.train)}, the training split")
    per_epoch = len(tensors.train) // batch_size
    total = round(epochs * per_epoch)
    if total < 1:
        raise bad_value("epochs", epochs, f"at least one step, {1 / per_epoch:.2g}")
    start = time.perf_counter()
    network = space.build(arch, num_classes=len(tensors.classes), image_size=size, seed=seed).train()
    if hasattr(network, "use_fused_attention"):
        network.use_fused_attention()
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, foreach=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, total))
    generator = torch.Generator().manual_seed(seed)
    for step in range(total):
        if step % per_epoch == 0:
            batches = torch.randperm(len(tensors.train), generator=generator).split(batch_size)
        index = batches[step % per_epoch]
        images = shift_and_flip(tensors.train[index], generator, max(1, size // 16))
        loss = functional.cross_entropy(network(images), tensors.train_labels[index], label_smoothing=smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    accuracy = (predict(network, tensors.test).argmax(1) == tensors.test_labels).float().mean().item()
    return accuracy, time.perf_counter() - start


def warm_cosine(step: int, total: int) -> float:
    """Factor of the learning rate: linear over a tenth of the steps, then cosine to zero."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, total - warm))))


def train_many(
    space: str | SearchSpace,
    architectures: Iterable[Architecture],
    data: str = "photopatch",
    *,
    seeds: Iterable[int] = (0,),
    epochs: float = 3,
    **options: object,
) -> Iterator[dict[str, object]]:
    """Runs `train_quick` for every architecture and seed.

    Yields:
        Rows with key, architecture (JSON), params, seed, accuracy, seconds, as each ends.
    """
    space = get_space(space)
    seeds = tuple(seeds)
    for arch in architectures:
        for seed in seeds:
            accuracy, seconds = train_quick(space, arch, data, seed, epochs, **options)
            yield {
                "key": arch.key,
                "architecture": arch.to_json(),
                "params": space.params(arch),
                "seed": seed,
                "accuracy": accuracy,
                "seconds": seconds,
            }
