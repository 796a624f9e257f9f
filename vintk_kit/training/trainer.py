"""Training of a classifier."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.training.images import TrainingImages
from vintk_kit.training.loop import Loop, run_loop
from vintk_kit.training.models import make_task
from vintk_kit.training.processes import Processes
from vintk_kit.training.recipe import Recipe, make_recipe
from vintk_kit.training.result import TrainResult

if TYPE_CHECKING:
    from timm.task import TrainingTask


def train(
    space: str | SearchSpace,
    arch: Architecture,
    *,
    data: str = "photopatch",
    preset: str | Recipe = "smoke",
    run: str | Path | None = None,
    seed: int = 0,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: threading.Event | None = None,
    weights: Supernet | None = None,
    root: str | Path | None = None,
    device: str | None = None,
    **overrides: Any,
) -> TrainResult:
    """Trains an architecture.

    With a run, checkpoints go to `runs/<run>/training`, and the same call resumes from the last one; on a CPU the
    curve is then bit-identical to that of an uninterrupted training. Under torchrun every process calls this; the
    batch is split between them and the loss curve is that of one process up to rounding (with stochastic depth: in
    distribution only).

    Args:
        space: Search space.
        arch: Architecture.
        data: Data set with a train and a test split. A share `val_fraction` of the train split is held out to choose
            the epoch that is kept (0: the last one); the test split is measured once, at the end.
        preset: `smoke`, `cifar`, `imagenet-deit`, or a Recipe.
        run: Run name; None writes nothing.
        seed: Decides initial weights, order, augmentation.
        on_epoch: Called with each row of the history, by the first process.
        stop: When set, saves a checkpoint and returns.
        weights: A (trained) supernet to start from; None draws initial weights from the seed.
        root: Folder of the data.
        device: Such as `cuda:0`; by default CUDA if present.
        overrides: Options of `Recipe`.

    Raises:
        InputError: For a wrong option or a data set, architecture or batch that do not fit.
        NumericalError: When the loss is NaN or infinite; the message names the last good checkpoint.
        StoreError: If the run was started with other parameters or a checkpoint is damaged.
    """
    space, recipe = get_space(space), make_recipe(preset, **overrides)
    arch, size = space.validate(arch), recipe.image_size or space.image_size

    def make(processes: Processes) -> Classifier:
        images = TrainingImages(data, recipe, size, seed, processes.rank, processes.world, root)
        classes = len(images.classes)
        network = space.build(arch, num_classes=classes, image_size=size, weights=weights, seed=seed)
        return Classifier(network, images, recipe, seed, processes, {
            "space": space.name, "architecture": arch.to_json(), "num_classes": classes, "image_size": size,
            "classes": list(images.classes), "mean": images.mean, "std": images.std, "data": data, "seed": seed,
        })  # fmt: skip

    return run_loop(make, run=run, device=device, on_epoch=on_epoch, stop=stop, supernet=weights is not None)


class Classifier(Loop):
    """The loop of a classifier; see `train`."""

    images: TrainingImages

    def make_task(self) -> TrainingTask:
        """timm's classification task, or distillation."""
        return make_task(self.network, self.images, self.recipe, self.device)

    @torch.no_grad()
    def measure(self, split: str) -> dict[str, float]:
        """Mean cross-entropy in nats, and share of right images."""
        network, sums = self.evaluated.eval(), torch.zeros(3, dtype=torch.float64)
        for images, labels in self.images.splits[split].batches(self.processes.rank, self.processes.world):
            labels = labels.to(self.device)
            with self.autocast():
                logits = network(images.to(self.device))
            logits = logits.float()
            sums[0] += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            sums[1] += (logits.argmax(1) == labels).sum().item()
            sums[2] += len(labels)
        loss, right, count = self.processes.total(sums).tolist()
        return {"loss": loss / count, "accuracy": right / count}
