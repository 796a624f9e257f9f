"""The plotly template "vintk": transparent, fixed height, legible on JupyterLab's light and dark theme.

Colours are plotly's colour-blind-safe qualitative palette, reordered so that the first ones keep at least 3:1 contrast
on white and on near black; text is a grey that keeps 4:1 on both.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

from vintk_kit.errors import bad_value
from vintk_kit.plots.renderers import load_renderers

load_renderers()

PALETTE = ("#4c8fc7", "#d1603d", "#2f9e7e", "#a672bd", "#b8860b", "#c4568a", "#6f8f2f", "#7f7fd6", "#8a8a8a")
SEQUENTIAL = "Cividis"
TEXT = "#7a7a7a"
GRID = "rgba(128,128,128,0.22)"
HEIGHT = 360


def _axis() -> dict:
    return {
        "gridcolor": GRID, "zerolinecolor": GRID, "linecolor": "rgba(128,128,128,0.6)", "showline": True,
        "ticks": "outside", "ticklen": 4, "tickcolor": "rgba(128,128,128,0.6)", "automargin": True,
        "title": {"standoff": 8, "font": {"size": 13}}, "exponentformat": "SI",
    }  # fmt: skip


def _template() -> go.layout.Template:
    layout_part = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(PALETTE),
        "font": {"family": "system-ui, 'Helvetica Neue', Arial, sans-serif", "size": 13, "color": TEXT},
        "title": {"font": {"size": 15}, "x": 0.01, "xanchor": "left"},
        "margin": {"l": 60, "r": 20, "t": 46, "b": 50},
        "height": HEIGHT,
        "xaxis": _axis(),
        "yaxis": _axis(),
        "legend": {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}},
        "hoverlabel": {"font": {"size": 12}, "align": "left"},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": TEXT, "activecolor": PALETTE[0]},
        "colorscale": {"sequential": SEQUENTIAL},
        "annotationdefaults": {"font": {"color": TEXT, "size": 12}, "arrowcolor": TEXT},
    }
    marker = {"size": 7, "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"}}
    data = {"scatter": [{"marker": marker, "line": {"width": 2}}], "scattergl": [{"marker": {"size": 6}}]}
    return go.layout.Template(layout=layout_part, data=data)


pio.templates["vintk"] = _template()


def layout(
    figure: go.Figure,
    *,
    title: str | None = None,
    x: str | None = None,
    y: str | None = None,
    height: int = HEIGHT,
    legend: bool | None = None,
) -> go.Figure:
    """Applies the template, titles and a fixed height to a figure, and returns it.

    Args:
        figure: Changed in place.
        title: Title of the figure.
        x: Title of every horizontal axis.
        y: Title of every vertical axis.
        height: Height in pixels; fixed, so that a notebook never jumps while a figure fills.
        legend: Whether to show the legend; None leaves plotly's choice.

    Raises:
        InputError: The height is below 80 pixels.
    """
    if height < 80:
        raise bad_value("height", height, "at least 80 pixels")
    figure.update_layout(template="vintk", height=height, uirevision="vintk")
    if title is not None:
        figure.update_layout(title_text=title)
    if x is not None:
        figure.update_xaxes(title_text=x)
    if y is not None:
        figure.update_yaxes(title_text=y)
    if legend is not None:
        figure.update_layout(showlegend=legend)
    return figure


def waiting(figure: go.Figure, message: str | None = None) -> go.Figure:
    """A figure whose axes stand but hold no data yet: a message, if any, and no numbers, which would mean nothing."""
    if message:
        figure.add_annotation(text=message, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=14)
    return figure.update_xaxes(showticklabels=False).update_yaxes(showticklabels=False)


def count_epochs(figure: go.Figure, last: float) -> go.Figure:
    """Whole numbers on horizontal axes that count few epochs; plotly would write 1.5."""
    return figure.update_xaxes(dtick=1) if last <= 12 else figure


def empty(message: str, *, height: int = HEIGHT) -> go.Figure:
    """A figure without data that says why: the designed empty state."""
    figure = layout(go.Figure(), height=height)
    figure.add_annotation(text=message, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=14)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def fade(colour: str, opacity: float) -> str:
    """A "#rrggbb" colour as "rgba(...)" with the given opacity, for bands and fills."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def log_axis(*values: Any) -> dict[str, Any]:
    """A logarithmic axis for these values whose labels are whole numbers: plotly writes 0.5 and 5 alike as "5"."""
    known = np.concatenate([np.asarray(part, float).ravel() for part in values])
    known = known[np.isfinite(known) & (known > 0)]
    if not len(known):
        return {"type": "log"}
    first, last = math.floor(math.log10(known.min())), math.ceil(math.log10(known.max()))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
