"""Training of segmentation networks: the classification trainer with a loss and a measurement per pixel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist

from vintk_kit.errors import StoreError
from vintk_kit.paths import run_folder
from vintk_kit.segmentation.augment import DenseImages
from vintk_kit.segmentation.backbones import check_square
from vintk_kit.segmentation.data import load_pairs
from vintk_kit.segmentation.models import Segmenter, build_segmenter
from vintk_kit.segmentation.pairs import IGNORE, DensePairs, check_num_classes
from vintk_kit.segmentation.recipe import DenseRecipe, make_dense_recipe
from vintk_kit.segmentation.scores import (
    DenseScores,
    default_inference,
    mean_iou,
    measure,
    pixel_accuracy,
    summarise,
)
from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.training.checkpoint import load_weights, save_weights
from vintk_kit.training.trainer import TrainResult, _device, _processes, _stop_on_signal, _Trainer


class PixelLoss(nn.Module):
    """Cross-entropy, mean over all pixels of the global batch that count; 0 if none does.

    In several processes the mean of the returned values is the loss of the global batch, even if the processes see
    different numbers of ignored pixels.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Logits (N, C, H, W) and masks (N, H, W) -> scalar."""
        total = F.cross_entropy(logits, masks, ignore_index=IGNORE, label_smoothing=self.smoothing, reduction="sum")
        count = (masks != IGNORE).sum().to(total.dtype)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(count)
            total = total * dist.get_world_size()
        return total / count.clamp_min(1)


def train_dense(
    space: str | SearchSpace,
    arch: Architecture,
    *,
    data: str = "bluemarble",
    preset: str | DenseRecipe = "smoke",
    run: str | Path | None = None,
    seed: int = 0,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: threading.Event | None = None,
    weights: Supernet | None = None,
    root: str | Path | None = None,
    device: str | None = None,
    **overrides: Any,
) -> TrainResult:
    """Trains a segmentation network.

    Checkpoints, resuming, torchrun and signals work as in `vintk_kit.training.train`: the same call resumes, on a CPU
    with the bit-identical curve. Decoders with batch norm (all but `linear`) couple the images of a process, so with
    several processes they follow another curve than with one.

    Args:
        space: `hybrid-hr`, a ViT or PiT space, or `timm(names=...)`.
        arch: Architecture.
        data: Dense data set. The test split picks nothing but the kept best epoch.
        preset: `smoke`, `bluemarble`, `cityscapes`, `ade20k`, or a DenseRecipe.
        run: Run name; None writes nothing.
        seed: Decides initial weights, order, augmentation.
        on_epoch: Called with each row: epoch, train_loss, val_loss, val_miou, val_accuracy (share of right pixels),
            lr, images_per_second, seconds.
        stop: When set, saves a checkpoint and returns.
        weights: Shared initial weights (drawn for the number of classes and the crop's height).
        root: Folder of the data.
        device: Such as `cuda:0`.
        overrides: Options of `DenseRecipe`.

    Returns:
        The result, whose `accuracy` is the best mIoU.

    Raises:
        InputError: For a wrong option, or data, architecture and crop that do not fit.
        NumericalError: When the loss is NaN or infinite.
        StoreError: If the run was started with other parameters or a checkpoint is damaged.
    """
    space, recipe = get_space(space), make_dense_recipe(preset, **overrides)
    arch = space.validate(arch)
    with _processes() as (rank, world), _stop_on_signal(stop or threading.Event()) as stop:
        pairs = load_pairs(data, root=root)
        tests = load_pairs(data, root=root, split="test")
        images = DenseImages(pairs, recipe, seed, rank, world)
        network = build_segmenter(
            space, arch, num_classes=pairs.num_classes, image_size=recipe.crop_height, decoder=recipe.decoder,
            weights=weights, seed=seed,
        )  # fmt: skip
        check_square(recipe.crop, network)
        trainer = _DenseTrainer(network, images, tests, recipe, seed, _device(device, rank), rank, world)
        trainer.facts = {
            "task": "segmentation", "space": space.name, "architecture": arch.to_json(), "decoder": recipe.decoder,
            "num_classes": pairs.num_classes, "image_size": recipe.crop_height, "classes": list(pairs.classes),
            "colours": pairs.colours[: pairs.num_classes],
            "mean": pairs.mean, "std": pairs.std, "data": data, "seed": seed,
        }  # fmt: skip
        if run is not None:
            trainer.open(run, asdict(recipe) | {"supernet": weights is not None})
        return trainer.run(on_epoch, stop)


class _DenseTrainer(_Trainer):
    def __init__(
        self, network: nn.Module, images: DenseImages, tests: DensePairs, recipe: DenseRecipe, seed: int,
        device: torch.device, rank: int, world: int,
    ) -> None:  # fmt: skip
        if world > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        super().__init__(network, images, recipe, seed, device, rank, world)
        self.task.criterion = PixelLoss(recipe.smoothing)
        count = min(recipe.eval_images or len(tests), len(tests))
        self.tests, self.rows = tests, [index * len(tests) // count for index in range(count)]

    def _finish_epoch(self, seconds: float, steps: int) -> dict[str, Any]:
        total = self._summed(torch.tensor([self.loss_sum], dtype=torch.float64))
        confusion, loss = self._measure()
        row = {
            "epoch": self.epoch + 1,
            "train_loss": float(total) / (self.images.steps * self.world),
            "val_loss": loss,
            "val_miou": mean_iou(confusion),
            "val_accuracy": pixel_accuracy(confusion),
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": steps * self.recipe.batch_size / seconds,
            "seconds": seconds,
        }
        self.history.append(row)
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        if row["val_miou"] > self.best:
            self.best = row["val_miou"]
            if self.folder is not None and self.rank == 0:
                tensors = self._modules().get("ema.", self.network).state_dict()
                save_weights(self.folder / "best.safetensors", tensors, self.facts | {"miou": self.best})
        self.save()
        self.saved_at = time.monotonic()
        return row

    @torch.no_grad()
    def _measure(self) -> tuple[Tensor, float]:
        network = self._modules().get("ema.", self.network).eval()
        with self._autocast():
            confusion, sums = measure(
                network, self.tests, self.rows[self.rank :: self.world], default_inference(network),
                mean=self.images.mean, std=self.images.std, device=self.device,
            )  # fmt: skip
        confusion, sums = self._summed(confusion), self._summed(sums)
        return confusion, float(sums[0] / sums[1].clamp_min(1))


def load_dense(run: str | Path) -> tuple[Segmenter, dict[str, Any]]:
    """The best network of a dense training, in evaluation mode, and its facts.

    Args:
        run: Run name, run folder, or a file of weights.

    Raises:
        StoreError: If there is no finished epoch, the file is damaged, or it holds no segmentation network.
    """
    path = Path(run)
    if path.suffix != ".safetensors":
        path = run_folder(run, create=False) / "training" / "best.safetensors"
    tensors, facts = load_weights(path)
    if facts.get("task") != "segmentation":
        raise StoreError(f"{path}: got weights of a classifier; allowed: a run of vintk segment train")
    network = build_segmenter(
        facts["space"], Architecture.from_json(facts["architecture"]), num_classes=facts["num_classes"],
        image_size=facts["image_size"], decoder=facts["decoder"],
    )  # fmt: skip
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise StoreError(f"{path}: weights do not fit the architecture ({error})") from error
    return network.eval(), facts


def evaluate_dense(
    run: str | Path,
    *,
    data: str | None = None,
    split: str = "test",
    root: str | Path | None = None,
    limit: int | None = None,
    device: str = "cpu",
    **inference: Any,
) -> DenseScores:
    """Measures the best network of a training.

    Args:
        run: Run name, run folder, or a file of weights.
        data: Data set; by default the one of the training.
        split: `train` or `test`.
        root: Folder of the data.
        limit: At most so many images, evenly spaced.
        device: Where to compute.
        inference: Options of `Inference`: window, stride, scales, flip.

    Raises:
        InputError: If the number of classes differs, or an image is smaller than the window.
    """
    network, facts = load_dense(run)
    pairs = load_pairs(data or facts["data"], root=root, split=split)
    check_num_classes(pairs, facts["num_classes"], "a network")
    count = min(limit or len(pairs), len(pairs))
    rows = [index * len(pairs) // count for index in range(count)]
    confusion, sums = measure(
        network.to(device), pairs, rows, default_inference(network, **inference), mean=facts["mean"],
        std=facts["std"], device=device,
    )  # fmt: skip
    return summarise(confusion, pairs.classes, float(sums[0] / sums[1].clamp_min(1)), count)
