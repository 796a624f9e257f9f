"""Candidates: score against size, a sortable table, and a click that hands the architecture to the next cell."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterator
from numbers import Number
from typing import Any

import ipywidgets as w
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.errors import one_of
from vintk_kit.plots.scores import scatter_figure, tidy_number

from .live import Rows, running_loop
from .panel import RunPanel, button, message_html
from .selection import Selection
from .table import SortableTable

_PLAIN = frozenset({"key", "architecture", "space", "init", "data_id", "error", "index", "seed"})


def wide_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per architecture: scoring rows (long form) are spread, anything else keeps its last row per key."""
    if len(frame) == 0:
        return pd.DataFrame({"key": [], "architecture": [], "params": []})
    if "proxy" in frame:
        from vintk_kit.scoring.frames import wide

        return wide(frame).reset_index(drop=True)
    return frame.drop_duplicates("key", keep="last", ignore_index=True) if "key" in frame else frame


def score_columns(frame: pd.DataFrame) -> list[str]:
    """Numeric columns that may be plotted, scores first, sizes last."""
    names = [name for name in frame if name not in _PLAIN and pd.api.types.is_numeric_dtype(frame[name])]
    sizes = [name for name in names if name in ("params", "macs", "generation", "seconds", "passes")]
    return [name for name in names if name not in sizes] + sizes


class CandidatesPanel(RunPanel):
    """See `candidates_panel`."""

    count = "key"

    def __init__(
        self, rows: Rows | pd.DataFrame, *, x: str = "params", y: str | None = None, live: bool = True,
        total: int | None = None, selection: Selection | None = None,
    ) -> None:  # fmt: skip
        self.x, self.y = x, y
        self.selection = selection if selection is not None else Selection()
        self._given = rows if isinstance(rows, pd.DataFrame) else None
        if self._given is not None:
            for column in ("key", x) + ((y,) if y else ()):
                one_of("column", column, list(wide_frame(self._given)))
            rows = _no_rows
        self._loop = running_loop()
        self._setting_axis = False
        super().__init__(rows, live=live, total=total)

    @property
    def frame(self) -> pd.DataFrame:
        """The frame given, or the rows so far."""
        return self.run.frame if self._given is None else self._given

    @property
    def table(self) -> pd.DataFrame:
        """One row per architecture."""
        return wide_frame(self.frame)

    def vertical(self, table: pd.DataFrame) -> str:
        """The column on the vertical axis: the chosen one, else the first score."""
        names = score_columns(table)
        return self.y if self.y in names else next((name for name in names if name != self.x), "score")

    def draw(self, table: pd.DataFrame) -> go.Figure:
        """The figure of a wide table."""
        return scatter_figure(table, x=self.x, y=self.vertical(table), selected=self.selection.key)

    def figure(self) -> go.Figure:
        return self.draw(self.table)

    def pick(self, key: str) -> None:
        """Selects an architecture by key: what a click does.

        Raises:
            InputError: No such key.
        """
        table = self.table
        one_of("key", key, [str(name) for name in table["key"]])
        self.selection.pick(table[table["key"] == key].iloc[0].to_dict())
        if self._view is not None:
            self.live_figure.show(self.draw(table))
            self.refresh()

    # Widgets -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._axis = w.Dropdown(description="show", layout=w.Layout(width="230px"), style={"description_width": "45px"})
        self._axis.add_class("vk-axis")
        self._axis.observe(lambda change: self._signal(self._change_axis, change["new"]), "value")
        self._clear = button("Clear filter", "vk-clear", "Show every architecture again",
                             lambda: self._signal(self._brushed, 0, []))  # fmt: skip
        self._clear.layout.width = "110px"
        self._table = SortableTable([], lambda key: self._signal(self.pick, key))
        self._picked = w.HTML(layout=w.Layout(min_height="24px"))
        self._picked.add_class("vk-picked")
        super()._build()
        if self._given is not None:
            for widget in (self._run_button, self._pause_button, self._stop_button):
                widget.layout.display = "none"
            self._status.value = f'<span role="status">{len(self.table)} architectures</span>'

    def tools(self) -> list[w.Widget]:
        return [self._axis, self._clear]

    def extras(self) -> list[w.Widget]:
        return [w.HBox([self._table.stepper(), self._picked]), self._table.widget]

    def connect(self) -> None:
        self.live_figure.widget.layout.dragmode = "select"
        self.live_figure.on_click(lambda trace, point: self._signal(self._clicked, trace, point))
        self.live_figure.on_brush(lambda trace, points: self._signal(self._brushed, trace, points))

    def _signal(self, function: Any, *values: Any) -> None:
        """Runs on the kernel's loop, the only writer; callbacks may come from another thread."""
        self._loop = self._loop or running_loop()
        if self._loop is None or running_loop() is self._loop:
            function(*values)
        else:
            asyncio.run_coroutine_threadsafe(_call(function, values), self._loop)

    def _clicked(self, trace: int, point: int) -> None:
        table = self.table
        if trace == 0 and point < len(table):
            self.pick(str(table["key"].iloc[point]))

    def _brushed(self, trace: int, points: list[int]) -> None:
        if trace == 0:
            keys = self.table["key"].astype(str)
            self.selection.keys = tuple(keys.iloc[[point for point in points if point < len(keys)]])
            self.refresh()

    def _change_axis(self, name: str | None) -> None:
        if name and name != self.y and not self._setting_axis:
            self.y = name
            self.live_figure.show(self.figure())
            self.refresh()

    def refresh(self) -> None:
        table = self.table
        names = score_columns(table)
        self._setting_axis = True
        try:
            if tuple(names) != self._axis.options:
                self._axis.options = names
            self._axis.value = self.vertical(table) if self.vertical(table) in names else None
        finally:
            self._setting_axis = False
        self._table.set_columns([*names[:6], "key"])
        keys = self.selection.keys
        self._table.show(table[table["key"].isin(keys)] if keys else table, self.selection.key)
        self._clear.disabled = not keys
        self._picked.value = picked_html(self.selection)


async def _call(function: Any, values: tuple) -> None:
    function(*values)


def _no_rows(stop: Any) -> Iterator[dict]:
    return iter(())


def picked_html(selection: Selection) -> str:
    """One line on the selected architecture, or how to select one."""
    if selection.architecture is None:
        return message_html(
            "Nothing selected: click a point or a line of the table; drag over points to filter.", "note"
        )
    facts = [f"{name} {tidy_number(value)}" for name, value in selection.row.items()
             if name not in _PLAIN and isinstance(value, Number)]  # fmt: skip
    return f"<b>{html.escape(str(selection.key))}</b> · {html.escape(' · '.join(facts[:5]))}"


def candidates_panel(
    rows: Rows | pd.DataFrame, *, x: str = "params", y: str | None = None, live: bool = True,
    total: int | None = None, selection: Selection | None = None,
) -> CandidatesPanel:  # fmt: skip
    """Architectures as points: hover shows one, a click selects it, dragging filters the table below.

    Args:
        rows: A frame with one row per architecture (`key`, `architecture` as JSON, sizes, scores), or scoring rows as
            a frame or as a rows function (`lambda stop: score(space, architectures, proxies, stop=stop)`).
        x: Column on the horizontal axis.
        y: Column on the vertical axis; by default the first score. A drop-down changes it.
        live: Widgets, or the static figure.
        total: Expected number of architectures.
        selection: The object to fill; a new `Selection` by default, found as `panel.selection`.

    Returns:
        A panel; `panel.selection.architecture` is the `Architecture` picked.

    Raises:
        InputError: The frame lacks a column.
    """
    return CandidatesPanel(rows, x=x, y=y, live=live, total=total, selection=selection)
