"""A figure that is updated in place: the live twin of "draw the static figure again"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go

from .live import running_loop

# Owned by the reader (zoom, hidden curves, brush) and therefore never taken back by an update.
_KEPT = frozenset({"uirevision", "template", "selections", "dragmode", "autosize", "width"})
MOMENT = 0.1  # seconds for a page to paint what it was sent
PATIENCE = 2.0  # seconds for a page to show a panel; nobody may be looking


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        left, right = np.asarray(left), np.asarray(right)
        return left.shape == right.shape and left.dtype == right.dtype and bool((left == right).all())
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and left == right


def _changes(old: dict, new: dict) -> dict:
    """The properties of `new` that differ, and None for those that `new` no longer has."""
    changed = {name: value for name, value in new.items() if name not in old or not _same(old[name], value)}
    return changed | {name: None for name in old if name not in new and name != "uid"}


def _traces(figure: go.Figure) -> list[dict]:
    return [trace.to_plotly_json() for trace in figure.data]


def _layout(figure: go.Figure) -> dict:
    return {name: value for name, value in figure.layout.to_plotly_json().items() if name not in _KEPT}


class _HeldFigure(go.FigureWidget):
    """A `FigureWidget` that the browser hears of when it is released or shown, then with its present content."""

    _held = True

    def open(self) -> None:
        if not self._held:
            super().open()

    def release(self) -> None:
        if self._held:
            self.remember()
            self._held = False
            self.open()

    def remember(self) -> None:
        """Lets a reloaded page start from the present figure: plotly itself hands out the one of construction.

        Only the kernel's copy of the state is set. Sending it would make the browser draw everything twice.
        """
        state = self._trait_values
        state["_widget_data"] = [trace.to_plotly_json() for trace in self.data]
        state["_widget_layout"] = self.layout.to_plotly_json()

    @property
    def model_id(self) -> str:
        """The name that a container asks for."""
        self.release()
        return super().model_id

    def _repr_mimebundle_(self, **options: Any) -> dict:
        self.release()
        return super()._repr_mimebundle_(**options)


class LiveFigure:
    """A `FigureWidget` whose content follows static figures.

    Static figures stay the only thing that is drawn; `show` sends the differences to the browser in one batch. Each
    such widget carries plotly's 5 MB bundle, so a notebook holds at most three, and the bundle is sent when the page
    shows the place for it: what stands around it need not wait.

    Attributes:
        view: What a panel holds: the place of the figure, as high as the figure from the start.
        widget: The `FigureWidget`.
    """

    def __init__(self, figure: go.Figure) -> None:
        self.widget = _HeldFigure(figure)
        self.widget.layout.autosize = True  # as wide as the panel; the height is the figure's
        self.widget._config = {"responsive": True, "displaylogo": False}
        self.view = w.VBox(layout=w.Layout(min_height=f"{figure.layout.height or 450}px"))
        self._loop = running_loop()
        self._fitted = False
        self._waiting: list[Callable[[], None]] = []
        self.widget.observe(lambda _: setattr(self, "_fitted", False), "_view_count")
        self.widget.observe(lambda change: self._fit(change["new"]), "_js2py_traceDeltas")
        self.widget.add_class("vk-figure")
        self._on_click: Callable[[int, int], None] | None = None
        self._on_brush: Callable[[int, list[int]], None] | None = None
        if self._loop is None:
            self._place()
        else:
            self.view._view_count = 0  # asks the page to count
            self.view.observe(lambda _: self._loop.call_later(MOMENT, self._place), "_view_count")
            self._loop.call_later(PATIENCE, self._place)

    def _place(self) -> None:
        if self.view.children:
            return
        self.widget.release()
        self.view.children = (self.widget,)
        if self._loop is not None:
            self._loop.call_later(2 * MOMENT, self._sent)

    def show(self, figure: go.Figure) -> None:
        """Makes the widget equal to `figure`."""
        widget = self.widget
        old, new = _traces(widget), _traces(figure)
        if [trace["type"] for trace in old] != [trace["type"] for trace in new]:
            with widget.batch_update():
                widget.data = ()
                widget.add_traces(list(figure.data))
            self._listen()
            old = new
        with widget.batch_update():
            for trace, before, after in zip(widget.data, old, new, strict=True):
                for name, value in _changes(before, after).items():
                    trace[name] = value
            for name, value in _changes(_layout(widget), _layout(figure)).items():
                widget.layout[name] = value
        self.widget.remember()

    def _fit(self, report: dict | None) -> None:
        """Once a view reports that it has drawn, tells it to look at its width again.

        A figure is drawn 700 pixels wide before its place in the page is known. To speak before that report would
        meet a view without a plot.
        """
        if report is not None and not self._fitted and self._loop is not None:
            self._fitted = True
            self._loop.call_soon_threadsafe(self.widget._send_relayout_msg, {"autosize": True})

    def when_sent(self, callback: Callable[[], None]) -> None:
        """Calls `callback()` once, a moment after the figure was sent to the page; at once without an event loop.

        Work that starts earlier takes the interpreter away from what the page still has to be sent; later, while the
        page reads plotly's bundle, it would wait for nothing.
        """
        if self._loop is None:
            callback()
        else:
            self._waiting.append(callback)

    def _sent(self) -> None:
        while self._waiting:
            self._waiting.pop()()

    def on_click(self, callback: Callable[[int, int], None]) -> None:
        """Calls `callback(trace, point)` when a point is clicked; from any thread, so it should only signal."""
        self._on_click = callback
        self._listen()

    def on_brush(self, callback: Callable[[int, list[int]], None]) -> None:
        """Calls `callback(trace, points)` after a box or lasso selection, and with no points when it is cleared."""
        self._on_brush = callback
        self._listen()

    def _listen(self) -> None:
        for index, trace in enumerate(self.widget.data):
            if trace.type not in ("scatter", "scattergl"):
                continue
            if self._on_click:
                trace.on_click(lambda _, points, __, i=index: self._clicked(i, points.point_inds))
            if self._on_brush:
                trace.on_selection(lambda _, points, __, i=index: self._on_brush(i, list(points.point_inds)))
                trace.on_deselect(lambda *_, i=index: self._on_brush(i, []))

    def _clicked(self, index: int, points: list[int]) -> None:
        if points:
            self._on_click(index, points[0])
