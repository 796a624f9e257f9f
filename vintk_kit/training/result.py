"""What a training returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn


@dataclass
class TrainResult:
    """What a training left.

    Attributes:
        history: One row per epoch: epoch, train_loss, what was measured on the validation split (val_loss,
            val_accuracy and, of dense training, val_miou; NaN without such a split), lr, images_per_second, seconds.
        accuracy: Of the kept epoch, on the test split, in [0, 1] (dense training: the mean IoU); NaN until the last
            epoch is done.
        test: What the test split gave, measured once after the last epoch: `kept` and `last`, each a dict of epoch,
            loss, accuracy and, of dense training, miou. Empty until then.
        folder: Run folder, or None.
        network: The network of the last epoch in evaluation mode (averaged weights if the recipe keeps them).
        interrupted: Whether it was stopped before its last epoch; the same call resumes it.
        params: Number of parameters.
    """

    history: pd.DataFrame
    accuracy: float
    test: dict[str, dict[str, float]]
    folder: Path | None
    network: nn.Module
    interrupted: bool
    params: int
