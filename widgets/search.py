"""The search panel: candidates arriving, the Pareto front growing, the best so far."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.plots.scores import scatter_figure

from .candidates import CandidatesPanel
from .live import Rows
from .selection import Selection


def pareto_keys(table: pd.DataFrame, score: str, cost: str) -> list[str]:
    """Keys of the architectures that no other beats in both score (higher) and cost (lower)."""
    part = table.dropna(subset=[score, cost]).sort_values([cost, score], ascending=[True, False])
    best = np.maximum.accumulate(part[score].to_numpy(float))
    front = np.concatenate([[True], best[1:] > best[:-1]])[: len(part)]
    return [str(key) for key in part["key"][front]]


class SearchPanel(CandidatesPanel):
    """See `search_panel`."""

    def __init__(self, rows: Rows, *, score: str | None = None, **options) -> None:
        super().__init__(rows, y=score, **options)

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front so far: one row per architecture, by size."""
        table = self.table
        score = self.vertical(table)
        if score not in table:
            return table
        keys = pareto_keys(table, score, self.x)
        return table.set_index("key").loc[keys].reset_index()

    def draw(self, table: pd.DataFrame) -> go.Figure:
        score = self.vertical(table)
        front = pareto_keys(table, score, self.x) if score in table and len(table) else []
        title = f"Search: {score} against {self.x}"
        return scatter_figure(table, x=self.x, y=score, front=front, selected=self.selection.key, title=title)


def search_panel(
    rows: Rows, *, score: str | None = "score", x: str = "params", live: bool = True, total: int | None = None,
    selection: Selection | None = None,
) -> SearchPanel:  # fmt: skip
    """A search as it runs: Start, Pause, Stop, the front growing, a click to select.

    Args:
        rows: The rows function, usually `callback_rows(search, "on_row", space, ...)`. Rows hold key, architecture
            (JSON), params and scores, or are scoring rows with a column `proxy`.
        score: Column of the score; the first score if there is none of that name.
        x: The cost on the horizontal axis.
        live: Widgets, or the static figure.
        total: Expected number of candidates.
        selection: The object to fill; `panel.selection` by default.

    Returns:
        A panel; `panel.front` is the frame of the Pareto front, `panel.selection.architecture` the one picked.
    """
    return SearchPanel(rows, score=score, x=x, live=live, total=total, selection=selection)
