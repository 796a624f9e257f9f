"""The training panel: loss and accuracy curves, learning rate, throughput, early stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import ipywidgets as w
import plotly.graph_objects as go

from vintk_kit.errors import bad_value
from vintk_kit.plots.scores import training_figure

from .live import Rows
from .panel import RunPanel


def stop_early(rows: Rows, patience: int, column: str = "val_accuracy") -> Rows:
    """Rows that set the stop event once `column` has not risen for `patience` epochs."""

    def watched(stop: threading.Event) -> Iterator[dict]:
        best, since = float("-inf"), 0
        for row in rows(stop):
            value = row.get(column)
            if value is not None:
                best, since = (value, 0) if value > best else (best, since + 1)
            if since >= patience:
                stop.set()
            yield row

    return watched


class TrainingPanel(RunPanel):
    """See `training_panel`."""

    def __init__(self, rows: Rows, *, live: bool = True, total: int | None = None, patience: int | None = None) -> None:
        if patience is not None and patience < 1:
            raise bad_value("patience", patience, "a positive number of epochs, or None")
        super().__init__(rows if patience is None else stop_early(rows, patience), live=live, total=total)

    def figure(self) -> go.Figure:
        return training_figure(self.frame)

    def extras(self) -> list[w.Widget]:
        self._line = w.HTML(layout=w.Layout(min_height="24px"))
        self._line.add_class("vk-epoch")
        return [self._line]

    def refresh(self) -> None:
        self._line.value = epoch_text(self.frame.to_dict("records"))


def epoch_text(rows: list[dict]) -> str:
    """One line: last epoch, losses, best accuracy, throughput."""
    if not rows:
        return '<span class="vk-note">No epoch finished yet.</span>'
    last = rows[-1]
    parts = [f"epoch {last.get('epoch', len(rows)):g}"]
    for name, label in (("train_loss", "training loss"), ("val_accuracy", "accuracy")):
        if last.get(name) is not None:
            parts.append(f"{label} {last[name]:.4g}")
    scored = [row for row in rows if row.get("val_accuracy") is not None]
    if scored:
        best = max(scored, key=lambda row: row["val_accuracy"])
        parts.append(f"best {best['val_accuracy']:.4g} at epoch {best.get('epoch', 0):g}")
    if last.get("images_per_second"):
        parts.append(f"{last['images_per_second']:.0f} images/s")
    return " · ".join(parts)


def training_panel(
    rows: Rows, *, live: bool = True, total: int | None = None, patience: int | None = None
) -> TrainingPanel:
    """Training as it runs, with Pause and Stop (the checkpoint stays, so a later start resumes).

    Args:
        rows: The rows function, usually `callback_rows(train, "on_epoch", space, architecture, ...)`. Rows hold epoch
            and any of train_loss, val_loss, train_accuracy, val_accuracy, lr, images_per_second.
        live: Widgets, or the static figure.
        total: Number of epochs.
        patience: Stop once val_accuracy has not risen for so many epochs; None never.

    Raises:
        InputError: `patience` is not positive.
    """
    return TrainingPanel(rows, live=live, total=total, patience=patience)
