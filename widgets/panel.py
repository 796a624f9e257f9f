"""The frame every run panel shares: buttons, one status line, a figure, and an error line instead of a traceback."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import pandas as pd
import plotly.graph_objects as go

from .figures import LiveFigure
from .live import Rows, make_run

_STYLE = """<style>
.vk-panel {border: 1px solid var(--jp-border-color2, #bbb); border-radius: 4px; padding: 8px; max-width: 1180px;
  overflow: hidden;}
.vk-panel .js-plotly-plot :is(.infolayer, .cartesianlayer) text {fill: var(--jp-ui-font-color1, #777) !important;}
.vk-panel .vk-status {min-height: 28px; font-variant-numeric: tabular-nums;}
.vk-panel .vk-message {min-height: 0;}
.vk-panel .widget-toggle-button.mod-active {background: #2f6ea6; color: #fff;}
.vk-panel .noUi-handle {border-color: var(--jp-ui-font-color3, #888);}
.vk-panel .vk-params .widget-readout {min-width: 116px;}
[data-jp-theme-light="false"] .vk-panel {color-scheme: dark; --jp-widgets-dropdown-arrow: url("data:image/svg+xml,\
<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'><path d='M5 7l4 4 4-4' fill='none' stroke='%23bbb' \
stroke-width='2'/></svg>");}
.vk-panel .vk-error {color: var(--jp-error-color1, #c62828); border-left: 3px solid currentColor; padding-left: 8px;
  white-space: pre-wrap; line-height: 1.35;}
.vk-panel .vk-note {color: var(--jp-ui-font-color2, #777);}
.vk-panel progress {width: 140px; height: 8px; vertical-align: middle; accent-color: #4c8fc7;}
.vk-panel button:focus-visible, .vk-panel select:focus-visible, .vk-panel input:focus-visible
  {outline: 2px solid #4c8fc7; outline-offset: 1px;}
.vk-panel .vk-table select {font-family: var(--jp-code-font-family, monospace); font-size: 12px; height: 100%;}
.vk-panel .vk-head button {font-family: var(--jp-code-font-family, monospace); font-size: 12px; padding: 0 0 0 4px;
  text-align: left; background: none; min-width: 0; margin: 0;}
.vk-panel table.vk-plain {border-collapse: collapse; font-size: 12px; line-height: 17px;
  font-variant-numeric: tabular-nums;}
.vk-panel table.vk-plain td, .vk-panel table.vk-plain th {padding: 2px 10px 2px 0; text-align: right;}
.vk-panel table.vk-plain td:first-child, .vk-panel table.vk-plain th:first-child {text-align: left;}
</style>"""

_WORDS = {
    "ready": "Ready", "running": "Running", "paused": "Paused", "stopping": "Stopping after the present row",
    "stopped": "Stopped", "done": "Done", "failed": "Failed",
}  # fmt: skip


def style() -> w.HTML:
    """The panels' style sheet, in a widget that takes no room."""
    return w.HTML(_STYLE, layout=w.Layout(height="0", margin="0", overflow="hidden"))


def duration(seconds: float) -> str:
    """Seconds as "9 s", "3:05" or "2:03:05"."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short_time(seconds: float) -> str:
    """Seconds as "90 ms", "240 ms" or "3.1 s"."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 100:.0f}0 ms"


def status_text(run: Any) -> str:
    """One line on a run: state, count, rate, remaining time, failures."""
    parts = [_WORDS[run.state], f"{run.completed} of {run.total}" if run.total else f"{run.completed}"]
    if run.completed and run.state != "ready":
        parts.append(f"{run.rate:.3g}/s")
    if run.state in ("running", "paused") and run.remaining is not None:
        parts.append(f"{duration(run.remaining)} left")
    elif run.state in ("done", "stopped", "failed"):
        parts.append(f"in {duration(run.seconds)}")
    if run.failures:
        parts.append(f"{run.failures} failed")
    return " · ".join(parts)


def describe_error(error: BaseException) -> str:
    """What went wrong, in the words of the error; the class only when the words alone may not do."""
    from vintk_kit.errors import VintkError

    text = str(error) or "no further details"
    return text if isinstance(error, VintkError) else f"{type(error).__name__}: {text}"


def message_html(text: str, kind: str = "error") -> str:
    """A message in the panel: kind "error" or "note"."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="vk-{kind}" role="{role}">{html.escape(text)}</div>' if text else ""


def button(label: str, css: str, tooltip: str, on_click: Callable[[], None], *, icon: str = "") -> w.Button:
    """A button with a class that tests and style sheets find it by."""
    widget = w.Button(description=label, tooltip=tooltip, icon=icon, layout=w.Layout(width="96px"))
    widget.add_class(css)
    widget.on_click(lambda _: on_click())
    return widget


class RunPanel:
    """A run with a figure that follows it. Subclasses say how to draw.

    Args:
        rows: A function from a `threading.Event` (set on Stop) to an iterable of rows.
        live: Widgets; with False the panel shows a static figure and `start()` works to the end.
        total: Expected number of completed rows (distinct values of `count` if a subclass counts that).
    """

    title = "Run"
    count: str | None = None

    def __init__(self, rows: Rows, *, live: bool = True, total: int | None = None) -> None:
        self.live = live
        self.run = make_run(
            rows, live=live, total=total, count=self.count, on_rows=self._on_rows, on_status=self._on_status
        )
        self._view: w.Widget | None = None

    # What subclasses fill in -------------------------------------------------------------------------------------

    def figure(self) -> go.Figure:
        """The static figure of the rows so far."""
        raise NotImplementedError

    def extras(self) -> list[w.Widget]:
        """Widgets below the figure."""
        return []

    def tools(self) -> list[w.Widget]:
        """Widgets beside the buttons."""
        return []

    def connect(self) -> None:
        """Called once the live figure exists: clicks, brushes."""

    def refresh(self) -> None:
        """Updates the extras; called by the only writer after the figure."""

    # What they share ---------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The rows so far."""
        return self.run.frame

    def start(self) -> None:
        """Starts the work: returns at once when live, at the end otherwise."""
        self.run.start()

    def pause(self) -> None:
        """Holds the work before its next row."""
        self.run.pause()

    def resume(self) -> None:
        """Continues after `pause`."""
        self.run.resume()

    def stop(self) -> None:
        """Ends the work after the present row."""
        self.run.stop()

    async def done(self) -> pd.DataFrame:
        """Waits for the end, starting first if needed, and returns the frame; raises what the work raised."""
        return await self.run.done()

    def _on_rows(self, batch: list[dict]) -> None:
        if self._view is not None:
            self.live_figure.show(self.figure())
            self.refresh()

    def _on_status(self, run: Any) -> None:
        if self._view is None:
            return
        value = html.escape(status_text(run))
        if run.total:
            value += f' <progress max="{run.total}" value="{min(run.completed, run.total)}"></progress>'
        self._status.value = f'<span role="status">{value}</span>'
        self._message.value = message_html(describe_error(run.error)) if run.error else ""
        busy = run.state in ("running", "paused", "stopping")
        self._run_button.disabled = busy
        self._pause_button.disabled = run.state not in ("running", "paused")
        self._pause_button.description = "Resume" if run.state == "paused" else "Pause"
        self._pause_button.icon = "play" if run.state == "paused" else "pause"
        self._stop_button.disabled = run.state not in ("running", "paused")

    def _toggle_pause(self) -> None:
        (self.resume if self.run.state == "paused" else self.pause)()

    @property
    def view(self) -> w.Widget:
        """The panel as one widget, built once."""
        if self._view is None:
            self._build()
        return self._view

    def _build(self) -> None:
        self._run_button = button("Start", "vk-run", "Start, or start anew", self.start, icon="play")
        self._pause_button = button("Pause", "vk-pause", "Pause or resume", self._toggle_pause, icon="pause")
        self._stop_button = button("Stop", "vk-stop", "End after the present row", self.stop, icon="stop")
        self._status, self._message = w.HTML(), w.HTML()
        self._status.add_class("vk-status")
        self._message.add_class("vk-message")
        self.live_figure = LiveFigure(self.figure())
        self.connect()
        bar = w.HBox(
            [self._run_button, self._pause_button, self._stop_button, self._status, *self.tools()],
            layout=w.Layout(flex_flow="row wrap", align_items="center"),
        )
        self._view = w.VBox([style(), bar, self._message, self.live_figure.view, *self.extras()])
        self._view.add_class("vk-panel")
        self._on_status(self.run)
        self.refresh()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view if self.live else self.figure())
