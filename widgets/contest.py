"""The contest panel: the winner's training curve beside those of its controls."""

from __future__ import annotations

import ipywidgets as w
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.plots.template import empty
from vintk_kit.plots.training import contest_figure

from .live import Rows
from .panel import RunPanel
from .training import epoch_text


class ContestPanel(RunPanel):
    """See `contest_panel`."""

    def figure(self) -> go.Figure:
        frame = self.frame
        if not len(frame):
            return empty("Start trains the winner and its controls.")
        return contest_figure(frame.drop_duplicates("entrant"), frame)

    @property
    def table(self) -> pd.DataFrame:
        """Last epoch of every entrant so far."""
        frame = self.frame
        return frame.drop_duplicates("entrant", keep="last") if len(frame) else frame

    def extras(self) -> list[w.Widget]:
        self._line = w.HTML(layout=w.Layout(min_height="24px"))
        self._line.add_class("vk-epoch")
        return [self._line]

    def refresh(self) -> None:
        rows = self.frame.to_dict("records")
        entrant = f"{rows[-1]['entrant']}: " if rows else ""
        last = [row for row in rows if row["entrant"] == rows[-1]["entrant"]]
        self._line.value = entrant + epoch_text(last)


def contest_panel(rows: Rows, *, live: bool = True, total: int | None = None) -> ContestPanel:
    """Trainings of several entrants as they run.

    Args:
        rows: The rows function, usually `callback_rows(contest, "on_epoch", space, winner, ...)`; rows hold entrant,
            epoch and val_accuracy.
        live: Widgets, or the static figure.
        total: Number of epochs of all entrants together.

    Returns:
        A panel; its `table` is the last epoch of every entrant.
    """
    return ContestPanel(rows, live=live, total=total)
