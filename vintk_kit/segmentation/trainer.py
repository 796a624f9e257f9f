"""Training of segmentation networks: the common loop with a loss and a measurement per pixel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    spaced,
    summarise,
)
from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.training.checkpoint import load_weights
from vintk_kit.training.loop import Loop, run_loop
from vintk_kit.training.processes import Processes
from vintk_kit.training.randomness import held_out
from vintk_kit.training.result import TrainResult

if TYPE_CHECKING:
    from timm.task import TrainingTask


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
        total = F.cross_entropy(
            logits.float(), masks, ignore_index=IGNORE, label_smoothing=self.smoothing, reduction="sum"
        )
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
        data: Dense data set. A share `val_fraction` of the train split is held out to choose the epoch that is kept
            (0: the last one); the test split is measured once, at the end.
        preset: `smoke`, `bluemarble`, `cityscapes`, `ade20k`, or a DenseRecipe.
        run: Run name; None writes nothing.
        seed: Decides initial weights, order, augmentation.
        on_epoch: Called with each row: epoch, train_loss, val_loss, val_miou, val_accuracy (share of right pixels;
            the three are NaN without validation split), lr, images_per_second, seconds.
        stop: When set, saves a checkpoint and returns.
        weights: Shared initial weights (drawn for the number of classes and the crop's height).
        root: Folder of the data.
        device: Such as `cuda:0`.
        overrides: Options of `DenseRecipe`.

    Returns:
        The result, whose `accuracy` is the mIoU of the kept epoch on the test split.

    Raises:
        InputError: For a wrong option, or data, architecture and crop that do not fit.
        NumericalError: When the loss is NaN or infinite.
        StoreError: If the run was started with other parameters or a checkpoint is damaged.
    """
    space, recipe = get_space(space), make_dense_recipe(preset, **overrides)
    arch = space.validate(arch)

    def make(processes: Processes) -> DenseLoop:
        pairs = load_pairs(data, root=root)
        rows, held = held_out(len(pairs), recipe.val_fraction, seed)
        splits = {"val": pairs.subset(held), "test": load_pairs(data, root=root, split="test")}
        images = DenseImages(pairs.subset(rows), recipe, seed, processes.rank, processes.world)
        network = build_segmenter(
            space, arch, num_classes=pairs.num_classes, image_size=recipe.crop_height, decoder=recipe.decoder,
            weights=weights, seed=seed,
        )  # fmt: skip
        check_square(recipe.crop, network)
        return DenseLoop(splits, network, images, recipe, seed, processes, {
            "task": "segmentation", "space": space.name, "architecture": arch.to_json(), "decoder": recipe.decoder,
            "num_classes": pairs.num_classes, "image_size": recipe.crop_height, "classes": list(pairs.classes),
            "colours": pairs.colours[: pairs.num_classes],
            "mean": pairs.mean, "std": pairs.std, "data": data, "seed": seed,
        })  # fmt: skip

    return run_loop(make, run=run, device=device, on_epoch=on_epoch, stop=stop, supernet=weights is not None)


class DenseLoop(Loop):
    """The loop of a segmentation network; see `train_dense`.

    Args:
        splits: The splits `val` and `test`.
        network: Segmentation network.
        images: Training batches.
        recipe: Recipe.
        seed: Of augmentation and stochastic depth.
        processes: Who takes part.
        facts: What is written beside the weights.
    """

    metrics = ("loss", "miou", "accuracy")
    chosen_by = "miou"

    def __init__(
        self, splits: dict[str, DensePairs], network: nn.Module, images: DenseImages, recipe: DenseRecipe, seed: int,
        processes: Processes, facts: dict[str, Any],
    ) -> None:  # fmt: skip
        if processes.world > 1 and processes.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        super().__init__(network, images, recipe, seed, processes, facts)
        self.splits = splits

    def make_task(self) -> TrainingTask:
        """timm's classification task with a loss per pixel."""
        from timm.task import ClassificationTask

        criterion = PixelLoss(self.recipe.smoothing)
        return ClassificationTask(self.network, criterion=criterion, device=self.device, verbose=False)

    @torch.no_grad()
    def measure(self, split: str) -> dict[str, float]:
        """Mean cross-entropy per pixel in nats, mean IoU, and share of right pixels."""
        network, pairs, processes = self.evaluated.eval(), self.splits[split], self.processes
        rows = spaced(len(pairs), self.recipe.eval_images)[processes.rank :: processes.world]
        mean, std = self.facts["mean"], self.facts["std"]
        with self.autocast():
            confusion, sums = measure(
                network, pairs, rows, default_inference(network), mean=mean, std=std, device=self.device
            )
        confusion, sums = processes.total(confusion), processes.total(sums)
        loss = float(sums[0] / sums[1].clamp_min(1))
        return {"loss": loss, "miou": mean_iou(confusion), "accuracy": pixel_accuracy(confusion)}


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
    rows = spaced(len(pairs), limit)
    confusion, sums = measure(
        network.to(device), pairs, rows, default_inference(network, **inference), mean=facts["mean"],
        std=facts["std"], device=device,
    )  # fmt: skip
    return summarise(confusion, pairs.classes, float(sums[0] / sums[1].clamp_min(1)), len(rows))
