"""Supernet training by weight entanglement, and one-shot accuracies of its subnets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.func import functional_call
from torch.nn import functional

from vintk_kit.errors import NumericalError, StoreError, bad_value
from vintk_kit.search.window import Sampler, Window
from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.training.checkpoint import load_weights, save_weights
from vintk_kit.training.quick import predict, shift_and_flip, tensor_data


def train_supernet(
    space: str | SearchSpace,
    *,
    data: str = "photopatch",
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    smoothing: float = 0.1,
    clip_grad: float = 1.0,
    max_params: float | None = None,
    seed: int = 0,
    file: str | Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: threading.Event | None = None,
    root: str | Path | None = None,
) -> Supernet:
    """Trains shared weights: every step samples one architecture and updates the slices it uses.

    This is AutoFormer's weight entanglement (Chen et al., ICCV 2021): the weights of a smaller layer are the leading
    block of those of a larger one. A step computes the sampled network only, so its cost is that of the average
    architecture; the optimizer then updates the whole tensors.

    Args:
        space: Any space whose architectures slice one supernet.
        data: Data set.
        epochs: Passes over the training split.
        batch_size: Images per step.
        lr: Peak learning rate; cosine to zero after a tenth of the steps.
        weight_decay: Of tensors with more than one dimension.
        smoothing: Label smoothing.
        clip_grad: Largest gradient norm.
        max_params: Samples only architectures of at most so many parameters; None samples the whole space.
        seed: Seed of weights, order, augmentation and sampled architectures.
        file: Where to write the weights; also after each epoch, so that a kill loses one epoch at most.
        on_epoch: Called with epoch, train_loss, lr, seconds, images_per_second.
        stop: When set, returns after the present step.
        root: Folder of the data.

    Returns:
        The trained supernet, for `space.build(..., weights=...)`.

    Raises:
        NumericalError: When the loss is NaN or infinite.
    """
    if epochs < 1:
        raise bad_value("epochs", epochs, "a whole number of at least 1")
    space = get_space(space)
    tensors = tensor_data(data, space.image_size, root)
    if not 1 <= batch_size <= len(tensors.train):
        raise bad_value("batch_size", batch_size, f"1 to {len(tensors.train)}, the training split")
    supernet = space.supernet(seed, num_classes=len(tensors.classes), image_size=space.image_size)
    shared = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in supernet.state.items()}
    groups = [
        {"params": [p for p in shared.values() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in shared.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    steps = len(tensors.train) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=epochs * steps + 1, pct_start=0.1, cycle_momentum=False
    )
    sampler = Sampler(space, Window(params=(None, max_params)), {})
    rng, generator = np.random.default_rng([seed, 7]), torch.Generator().manual_seed(seed)
    pad = max(1, space.image_size // 16)
    for epoch in range(epochs):
        started, losses = time.perf_counter(), []
        order = torch.randperm(len(tensors.train), generator=generator)
        for index in order[: steps * batch_size].split(batch_size):
            images = shift_and_flip(tensors.train[index], generator, pad)
            logits = _forward(space, sampler.sample(rng), supernet, shared, images)
            loss = functional.cross_entropy(logits, tensors.train_labels[index], label_smoothing=smoothing)
            if not torch.isfinite(loss):
                raise NumericalError(
                    f"supernet training: loss is {loss.item()} in epoch {epoch + 1}; allowed: a smaller lr"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in shared.values() if p.grad is not None], clip_grad)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if stop is not None and stop.is_set():
                break
        trained = _detached(supernet, shared)
        if file is not None:
            save_supernet(trained, file)
        if on_epoch is not None:
            seconds = time.perf_counter() - started
            on_epoch(
                {
                    "epoch": epoch + 1, "train_loss": float(np.mean(losses)), "lr": schedule.get_last_lr()[0],
                    "images_per_second": len(losses) * batch_size / seconds, "seconds": seconds,
                }
            )  # fmt: skip
        if stop is not None and stop.is_set():
            break
    return trained


def _forward(
    space: SearchSpace, arch: Architecture, supernet: Supernet, shared: dict[str, torch.nn.Parameter],
    images: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Logits of a subnet whose weights are slices of the trainable tensors, so that gradients reach those."""
    channels, classes, size = supernet.sizes
    network = space.build(arch, in_channels=channels, num_classes=classes, image_size=size, weights=supernet).train()
    if hasattr(network, "use_fused_attention"):
        network.use_fused_attention()
    entangled = Supernet(supernet.space, supernet.seed, supernet.sizes, shared)
    used = {
        name: entangled.slice(space.weight_name(arch, name), tuple(parameter.shape))
        for name, parameter in network.named_parameters()
    }
    return functional_call(network, used, (images,))


def _detached(supernet: Supernet, shared: dict[str, torch.nn.Parameter]) -> Supernet:
    state = {name: parameter.detach().clone() for name, parameter in shared.items()}
    return Supernet(supernet.space, supernet.seed, supernet.sizes, state)


def one_shot(
    space: str | SearchSpace,
    supernet: Supernet,
    architectures: Iterable[Architecture],
    *,
    data: str = "photopatch",
    limit: int | None = None,
    root: str | Path | None = None,
) -> pd.DataFrame:
    """Test accuracy of architectures with the weights of a trained supernet, nothing trained further.

    Args:
        space: The supernet's space.
        supernet: Trained weights.
        architectures: What to evaluate.
        data: Data set.
        limit: Uses so many test images, evenly spaced; None all.
        root: Folder of the data.

    Returns:
        One row per architecture: key, architecture, params, one_shot (accuracy in [0, 1]).
    """
    space = get_space(space)
    tensors = tensor_data(data, supernet.sizes[2], root)
    step = 1 if limit is None else max(1, len(tensors.test) // limit)
    images, labels = tensors.test[::step], tensors.test_labels[::step]
    rows = []
    for arch in architectures:
        network = space.build(arch, num_classes=supernet.sizes[1], image_size=supernet.sizes[2], weights=supernet)
        accuracy = (predict(network, images).argmax(1) == labels).float().mean().item()
        rows.append(
            {"key": arch.key, "architecture": arch.to_json(), "params": space.params(arch), "one_shot": accuracy}
        )
    return pd.DataFrame(rows)


def save_supernet(supernet: Supernet, file: str | Path) -> None:
    """Writes a supernet as safetensors."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, supernet.state, {"supernet": supernet.space, "seed": supernet.seed, "sizes": supernet.sizes})


def load_supernet(file: str | Path) -> Supernet:
    """Reads a supernet.

    Raises:
        StoreError: If the file is absent, damaged or holds no supernet.
    """
    state, facts = load_weights(Path(file))
    if "supernet" not in facts:
        raise StoreError(f"{file}: holds a trained network, not a supernet")
    return Supernet(facts["supernet"], facts["seed"], tuple(facts["sizes"]), state)
