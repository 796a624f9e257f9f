"""Intersection over union, pixel accuracy, and inference by windows and scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vintk_kit.errors import InputError, bad_value
from vintk_kit.segmentation.network import COARSEST
from vintk_kit.segmentation.pairs import IGNORE, DensePairs

BATCH = 8
"""Images of one size that are evaluated together."""


@dataclass(frozen=True)
class DenseScores:
    """What a network reaches on a split.

    Attributes:
        confusion: Pixels by true class (rows) and predicted class (columns).
        table: One row per class: class, iou, accuracy (share of its pixels found), pixels.
        miou: Mean IoU over the classes that occur, in truth or prediction.
        pixel_accuracy: Share of the pixels that are right.
        loss: Mean cross-entropy per pixel, in nats.
        images: Number of images.
    """

    confusion: pd.DataFrame
    table: pd.DataFrame
    miou: float
    pixel_accuracy: float
    loss: float
    images: int


def confusion_matrix(predicted: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """int64 (C, C) of true against predicted classes; pixels of truth 255 do not count."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(predicted, truth, num_classes, ignore_index=IGNORE).cpu()


def class_iou(confusion: Tensor) -> Tensor:
    """IoU per class, (C,) float64: hits / (truth + predicted - hits); NaN for a class that occurs in neither."""
    counts = confusion.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)  # 0 / 0 is NaN


def mean_iou(confusion: Tensor) -> float:
    """Mean of `class_iou` over the classes that occur."""
    return float(class_iou(confusion).nanmean())


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of right pixels; NaN if none counts."""
    total = int(confusion.sum())
    return float(confusion.diagonal().sum()) / total if total else math.nan


def summarise(confusion: Tensor, classes: Sequence[str], loss: float, images: int) -> DenseScores:
    """All scores of a confusion matrix."""
    counts = confusion.double()
    table = pd.DataFrame({
        "class": list(classes), "iou": class_iou(confusion).numpy(),
        "accuracy": (counts.diagonal() / counts.sum(1)).numpy(), "pixels": confusion.sum(1).numpy(),
    })  # fmt: skip
    frame = pd.DataFrame(confusion.numpy(), index=list(classes), columns=list(classes))
    return DenseScores(frame, table, mean_iou(confusion), pixel_accuracy(confusion), loss, images)


# ---- inference --------------------------------------------------------------------------------------------------


def window_starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of windows that cover a side; the last one ends at the border."""
    last = side - window
    return sorted({*range(0, last + 1, stride), last})


def slide(network: nn.Module, x: Tensor, window: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Logits (N, C, H, W) as means over overlapping windows.

    Raises:
        InputError: If the image is smaller than the window, or the stride larger than the window.
    """
    height, width = x.shape[-2:]
    if height < window[0] or width < window[1]:
        raise InputError(
            f"image: got {width} x {height} pixels; allowed: at least the window, {window[1]} x {window[0]}"
        )
    if not (0 < stride[0] <= window[0] and 0 < stride[1] <= window[1]):
        raise bad_value("stride", stride, f"1 to the window, {window}")
    total: Tensor | None = None
    counts = x.new_zeros(1, 1, height, width)
    for top in window_starts(height, window[0], stride[0]):
        for left in window_starts(width, window[1], stride[1]):
            area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            part = network(x[area])
            total = x.new_zeros(len(x), part.shape[1], height, width) if total is None else total
            total[area] += part
            counts[area] += 1
    return total / counts


@dataclass(frozen=True)
class Inference:
    """How an image is predicted.

    Attributes:
        window: Height and width of sliding windows; None takes whole images.
        stride: Their step; None is two thirds of the window.
        scales: Factors at which the image is predicted; probabilities are averaged.
        flip: Also predicts the mirror image.
    """

    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or any(not 0 < scale <= 8 for scale in self.scales):
            raise bad_value("scales", self.scales, "factors above 0 and at most 8")

    @torch.no_grad()
    def __call__(self, network: nn.Module, x: Tensor) -> Tensor:
        """(N, c, H, W) -> log-probabilities (N, C, H, W)."""
        total: Tensor | None = None
        for scale in self.scales:
            for mirrored in (False, True) if self.flip else (False,):
                image = x if scale == 1 else _scaled(x, scale)
                logits = self._logits(network, image.flip(-1) if mirrored else image).float()
                logits = logits.flip(-1) if mirrored else logits
                if logits.shape[-2:] != x.shape[-2:]:
                    logits = F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
                part = logits.softmax(1)
                total = part if total is None else total + part
        return (total / (len(self.scales) * (2 if self.flip else 1))).clamp_min(1e-12).log()

    def _logits(self, network: nn.Module, x: Tensor) -> Tensor:
        if self.window is None:
            return network(x)
        stride = self.stride or tuple(max(1, 2 * side // 3) for side in self.window)
        return slide(network, x, self.window, stride)


def _scaled(x: Tensor, scale: float) -> Tensor:
    sides = [max(COARSEST, round(side * scale)) for side in x.shape[-2:]]
    return F.interpolate(x, size=sides, mode="bilinear", align_corners=False)


def default_inference(network: nn.Module, **options: object) -> Inference:
    """Whole images, or windows of the only size that a network takes."""
    fixed = getattr(network, "fixed_size", None)
    if fixed is not None:
        options.setdefault("window", (fixed, fixed))
    return Inference(**options)


def normalised(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (h, w, 3) to float32 (3, h, w)."""
    middle, spread = (torch.tensor(list(values), dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return (torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255 - middle) / spread


def spaced(count: int, limit: int | None) -> list[int]:
    """At most `limit` numbers below `count`, evenly spaced; all of them without a limit, or if it is 0."""
    size = min(limit or count, count)
    return [index * count // size for index in range(size)]


def _batches(pairs: DensePairs, rows: Sequence[int], mean: Sequence[float], std: Sequence[float]) -> Iterator:
    images, masks = [], []
    for index in rows:
        image, mask = pairs[int(index)]
        if masks and (mask.shape != masks[0].shape or len(masks) == BATCH):
            yield torch.stack(images), torch.stack(masks)
            images, masks = [], []
        images.append(normalised(image, mean, std))
        masks.append(torch.from_numpy(np.ascontiguousarray(mask)).long())
    if masks:
        yield torch.stack(images), torch.stack(masks)


def measure(
    network: nn.Module,
    pairs: DensePairs,
    rows: Sequence[int],
    inference: Inference,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Evaluates pairs.

    Returns:
        Confusion matrix (C, C), and two float64 sums: cross-entropy over pixels, and pixels that count.
    """
    confusion = torch.zeros(pairs.num_classes, pairs.num_classes, dtype=torch.int64)
    sums = torch.zeros(2, dtype=torch.float64)
    for images, masks in _batches(pairs, rows, mean, std):
        found = inference(network, images.to(device)).cpu()
        confusion += confusion_matrix(found.argmax(1), masks, pairs.num_classes)
        sums[0] += F.nll_loss(found, masks, ignore_index=IGNORE, reduction="sum").item()
        sums[1] += int((masks != IGNORE).sum())
    return confusion, sums
