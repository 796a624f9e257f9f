"""Supernet training by weight entanglement, and one-shot accuracies of its subnets."""

from __future__ import annotations

import copy
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
from vintk_kit.manifest import bind_parameters
from vintk_kit.paths import run_folder
from vintk_kit.search.window import Sampler, Window
from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.training.checkpoint import (
    last_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from vintk_kit.training.quick import TensorData, predict, shift_and_flip, tensor_data, warm_cosine
from vintk_kit.training.randomness import derived_seed


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
    max_macs: float | None = None,
    seed: int = 0,
    run: str | Path | None = None,
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
        max_macs: Same for multiply-adds.
        seed: Seed of weights, order, augmentation and sampled architectures.
        run: Run name; weights go to `supernet.safetensors` there, and the same call goes on after the last finished
            epoch. None writes nothing.
        on_epoch: Called with epoch, train_loss, lr, seconds, images_per_second.
        stop: When set, returns after the present step.
        root: Folder of the data.

    Returns:
        The trained supernet, for `space.build(..., weights=...)`.

    Raises:
        InputError: For epochs, a batch or limits that do not fit.
        NumericalError: When the loss is NaN or infinite.
        StoreError: If the run was started with other parameters or its checkpoint is damaged.
    """
    if epochs < 1:
        raise bad_value("epochs", epochs, "a whole number of at least 1")
    space = get_space(space)
    tensors = tensor_data(data, space.image_size, root)
    if not 1 <= batch_size <= len(tensors.train):
        raise bad_value("batch_size", batch_size, f"1 to {len(tensors.train)}, the training split")
    sampler = Sampler(space, Window(params=(None, max_params), macs=(None, max_macs)), {})
    recipe = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay, "smoothing": smoothing,
        "clip_grad": clip_grad, "seed": seed,
    }  # fmt: skip
    training = _Entangled(sampler, tensors, **recipe)
    if run is not None:
        training.open(run_folder(run), {
            **recipe, "space": space.name, "data": data, "max_params": max_params, "max_macs": max_macs,
        })  # fmt: skip
    return training.run(on_epoch, stop or threading.Event())


class _Entangled:
    # Draws depend on seed and epoch only, so a checkpoint after an epoch is all that resuming needs.

    def __init__(
        self, sampler: Sampler, tensors: TensorData, *, epochs: int, batch_size: int, lr: float, weight_decay: float,
        smoothing: float, clip_grad: float, seed: int,
    ) -> None:  # fmt: skip
        self.sampler, self.space, self.tensors = sampler, sampler.space, tensors
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.lr, self.smoothing, self.clip_grad = lr, smoothing, clip_grad
        sizes = {"num_classes": len(tensors.classes), "image_size": self.space.image_size}
        self.initial = self.space.supernet(seed, **sizes)
        self.shared = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in self.initial.state.items()}
        groups = [
            {"params": [p for p in self.shared.values() if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in self.shared.values() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr)
        self.steps = len(tensors.train) // batch_size
        self.epoch = 0
        self.folder: Path | None = None

    def open(self, folder: Path, parameters: dict[str, Any]) -> None:
        bind_parameters(folder, "supernet", parameters)
        self.folder = folder
        found = last_checkpoint(folder / "supernet")
        if found is None:
            return
        saved = load_checkpoint(found)
        with torch.no_grad():
            for name, parameter in self.shared.items():
                parameter.copy_(saved.tensors[name])
        self.optimizer.load_state_dict(saved.optimizer)
        self.epoch = saved.progress["epoch"]

    def run(self, on_epoch: Callable[[dict[str, Any]], None] | None, stop: threading.Event) -> Supernet:
        while self.epoch < self.epochs and not stop.is_set():
            started = time.perf_counter()
            losses = self._train_epoch(stop)
            if len(losses) < self.steps:
                break
            self.epoch += 1
            self._save()
            seconds = time.perf_counter() - started
            if on_epoch is not None:
                on_epoch({
                    "epoch": self.epoch, "train_loss": float(np.mean(losses)),
                    "lr": self.optimizer.param_groups[0]["lr"],
                    "images_per_second": self.steps * self.batch_size / seconds, "seconds": seconds,
                })  # fmt: skip
        return self.trained()

    def _train_epoch(self, stop: threading.Event) -> list[float]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        rng, sampler = np.random.default_rng([self.seed, 7, self.epoch]), copy.copy(self.sampler)  # it adapts
        order, losses = torch.randperm(len(self.tensors.train), generator=generator), []
        for step, index in enumerate(order[: self.steps * self.batch_size].split(self.batch_size)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * warm_cosine(self.epoch * self.steps + step, self.epochs * self.steps)
            images = shift_and_flip(self.tensors.train[index], generator, max(1, self.space.image_size // 16))
            losses.append(self._train_step(sampler.sample(rng), images, self.tensors.train_labels[index]))
            if stop.is_set():
                break
        return losses

    def _train_step(self, arch: Architecture, images: torch.Tensor, labels: torch.Tensor) -> float:
        logits = _forward(self.space, arch, self.initial, self.shared, images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        if not torch.isfinite(loss):
            raise NumericalError(
                f"supernet training: loss is {loss.item()} in epoch {self.epoch + 1}; allowed: a smaller lr"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.shared.values() if p.grad is not None], self.clip_grad)
        self.optimizer.step()
        return loss.item()

    def trained(self) -> Supernet:
        state = {name: parameter.detach().clone() for name, parameter in self.shared.items()}
        return Supernet(self.initial.space, self.seed, self.initial.sizes, state)

    def _save(self) -> None:
        if self.folder is None:
            return
        save_checkpoint(
            self.folder / "supernet", self.epoch, self.shared, self.optimizer.state_dict(), {"epoch": self.epoch}
        )
        save_supernet(self.trained(), self.folder / "supernet.safetensors")


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
