"""Evaluation of a trained network: accuracy, per-class recall and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from vintk_kit.data import load_dataset
from vintk_kit.errors import InputError
from vintk_kit.training.images import MeasuredImages
from vintk_kit.training.models import load_trained
from vintk_kit.training.quick import predict


@dataclass(frozen=True)
class Evaluation:
    """Test results.

    Attributes:
        accuracy: Share of images whose largest logit is their class.
        top5: Share of images whose class is among the five largest logits.
        loss: Mean cross-entropy in nats.
        confusion: Counts (C, C); rows are true classes, columns predictions.
    """

    accuracy: float
    top5: float
    loss: float
    confusion: pd.DataFrame

    @property
    def recall(self) -> pd.Series:
        """Share of each class that was found; NaN for a class without images."""
        counts = self.confusion.to_numpy()
        with np.errstate(invalid="ignore"):
            return pd.Series(np.diag(counts) / counts.sum(axis=1), index=self.confusion.index, name="recall")


def evaluate_logits(logits: torch.Tensor, labels: torch.Tensor, classes: tuple[str, ...]) -> Evaluation:
    """Results from logits (N, C) and labels (N,)."""
    count = len(classes)
    if logits.shape[1] != count:
        raise InputError(f"evaluation: got a network of {logits.shape[1]} classes; the data set has {count}")
    guess = logits.argmax(1)
    confusion = torch.bincount(labels * count + guess, minlength=count**2).view(count, count)
    top = logits.topk(min(5, count), dim=1).indices
    table = pd.DataFrame(confusion.numpy(), index=list(classes), columns=list(classes))
    return Evaluation(
        (guess == labels).float().mean().item(),
        (top == labels[:, None]).any(1).float().mean().item(),
        nn.functional.cross_entropy(logits, labels).item(),
        table.rename_axis(index="true", columns="predicted"),
    )


def evaluate(
    run: str | Path, *, data: str | None = None, split: str = "test", root: str | Path | None = None
) -> Evaluation:
    """Evaluates the best network of a training.

    Args:
        run: Run name, run folder, or a file of weights.
        data: Data set; by default the one it was trained on.
        split: `test` or `train`.
        root: Folder of the data.

    Raises:
        InputError: If the data set has another number of classes.
        StoreError: If the run holds no trained network.
    """
    network, facts = load_trained(run)
    images = load_dataset(data or facts["data"], root=root, split=split, size=facts["image_size"])
    if images.num_classes != facts["num_classes"]:
        raise InputError(
            f"evaluation: got a network of {facts['num_classes']} classes; the data set has {images.num_classes}"
        )
    measured = MeasuredImages(images, facts["image_size"], mean=facts["mean"], std=facts["std"])
    found = [(predict(network, pixels), labels) for pixels, labels in measured.batches()]
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return evaluate_logits(logits, labels, images.classes)
