"""A table of architectures that sorts by its head and scrolls.

By keyboard: Home, End, and the two buttons; JupyterLab keeps the arrow keys, to move between cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Number

import ipywidgets as w
import pandas as pd

from vintk_kit.plots.scores import tidy_number

_WIDTH, _KEY_WIDTH = 15, 34  # characters per column
_ROWS = 500  # lines sent to the browser


class SortableTable:
    """Lines of a frame as a list box under a row of sort buttons.

    Args:
        columns: Columns to show; the first click on a head sorts downwards, the next upwards.
        on_pick: Called with the key of a line that was chosen.
        height: Pixels of the list.
    """

    def __init__(self, columns: Sequence[str], on_pick: Callable[[str], None], *, height: int = 190) -> None:
        self.columns: list[str] = []
        self._on_pick = on_pick
        self._frame = pd.DataFrame()
        self._sort: tuple[str, bool] | None = None
        self._quiet = False
        self._head = w.HBox()
        self._head.add_class("vk-head")
        self.list = w.Select(options=[], rows=10, layout=w.Layout(width="auto", height=f"{height}px"))
        self.list.observe(self._chosen, "value")
        self.widget = w.VBox([self._head, self.list], layout=w.Layout(overflow="auto", max_width="100%"))
        self.widget.add_class("vk-table")
        self.set_columns(columns)

    def set_columns(self, columns: Sequence[str]) -> None:
        """Changes which columns are shown."""
        if list(columns) == self.columns:
            return
        self.columns = list(columns)
        heads = []
        for column in self.columns:
            head = w.Button(tooltip=f"Sort by {column}", layout=w.Layout(width=f"{_width(column)}ch", flex="0 0 auto"))
            head.add_class("vk-sort")
            head.on_click(lambda _, name=column: self.sort(name))
            heads.append(head)
        self._head.children = heads
        self._label_heads()

    def sort(self, column: str) -> None:
        """Sorts by a column, downwards first; again reverses."""
        downwards = not (self._sort and self._sort[0] == column and self._sort[1])
        self._sort = (column, downwards)
        self._label_heads()
        self._fill()

    def step(self, lines: int) -> None:
        """Moves the choice by so many lines; from nothing, to the first or the last."""
        keys = [key for _, key in self.list.options]
        if not keys:
            return
        at = keys.index(self.list.value) + lines if self.list.value in keys else (0 if lines > 0 else len(keys) - 1)
        self.list.value = keys[min(max(at, 0), len(keys) - 1)]

    def stepper(self) -> w.HBox:
        """Buttons to the previous and the next line."""
        buttons = []
        for icon, css, tooltip, lines in (("chevron-up", "vk-previous", "Previous line", -1),
                                          ("chevron-down", "vk-next", "Next line", 1)):  # fmt: skip
            widget = w.Button(icon=icon, tooltip=tooltip, layout=w.Layout(width="34px"))
            widget.add_class(css)
            widget.on_click(lambda _, lines=lines: self.step(lines))
            buttons.append(widget)
        return w.HBox(buttons, layout=w.Layout(flex="0 0 auto"))

    def show(self, frame: pd.DataFrame, selected: str | None = None) -> None:
        """Shows the lines of `frame`, which has a column `key`."""
        self._frame = frame
        self._fill(selected)

    def _label_heads(self) -> None:
        for column, head in zip(self.columns, self._head.children, strict=True):
            arrow = (" ↓" if self._sort[1] else " ↑") if self._sort and self._sort[0] == column else ""
            head.description = column[: _WIDTH - 3] + arrow

    def _fill(self, selected: str | None = None) -> None:
        frame = self._frame
        if self._sort and self._sort[0] in frame:
            frame = frame.sort_values(self._sort[0], ascending=not self._sort[1], kind="stable")
        selected = selected or self.list.value
        columns = [column for column in self.columns if column in frame]
        lines = [
            ("".join(map(_cell, values, columns)), key)
            for key, values in zip(
                frame.get("key", []), frame[columns].head(_ROWS).itertuples(index=False), strict=False
            )
        ]
        if tuple(lines) == tuple(self.list.options) and selected == self.list.value:
            return
        self._quiet = True
        try:
            self.list.options = lines
            self.list.value = selected if selected in {key for _, key in lines} else None
        finally:
            self._quiet = False

    def _chosen(self, change: dict) -> None:
        if change["new"] and not self._quiet:
            self._on_pick(change["new"])


def _width(column: str) -> int:
    return _KEY_WIDTH if column == "key" else _WIDTH


def _cell(value: object, column: str) -> str:
    text = tidy_number(float(value)) if isinstance(value, Number) else str(value)
    return (
        text[: _width(column) - 1].ljust(_width(column)).replace(" ", "\u00a0")
    )  # browsers collapse plain spaces in a list box
