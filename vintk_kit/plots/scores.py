"""Figures of scored architectures: scatter, running rank correlation, training curves."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vintk_kit.errors import one_of
from vintk_kit.plots.template import HEIGHT, PALETTE, count_epochs, empty, fade, layout, waiting

GL_ABOVE = 2000  # points; SVG beyond this makes the browser lag behind the run


def architecture_text(text: object) -> str:
    """An architecture's JSON as short lines for a hover label: one `name value` per choice."""
    if not isinstance(text, str) or not text.startswith("{"):
        return str(text)
    choices = json.loads(text).get("choices", {})
    lines = []
    for name, value in choices.items():
        shown = " ".join(str(item) for item in value) if isinstance(value, list) else str(value)
        lines.append(f"{name} {shown}")
    return "<br>".join(lines)


def tidy_number(value: float) -> str:
    """A number in four significant digits with SI suffix above 10 000: 5.718M, 0.4312."""
    if not np.isfinite(value):
        return "n/a"
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.4g}{suffix}"
    return f"{value:.4g}"


def scatter_figure(
    frame: pd.DataFrame,
    *,
    x: str = "params",
    y: str = "score",
    colour: str | None = None,
    selected: str | None = None,
    front: Sequence[str] = (),
    title: str | None = None,
    height: int = HEIGHT,
) -> go.Figure:
    """One point per architecture.

    Args:
        frame: Columns `x`, `y`; optionally `key` and `architecture` (JSON) for the hover text.
        x: Column on the horizontal axis.
        y: Column on the vertical axis.
        colour: Numeric column that colours the points.
        selected: Key of the architecture to ring.
        front: Keys joined by a line: the Pareto front.
        title: Title; by default "<y> against <x>".
        height: Pixels.

    Returns:
        A figure with three traces: points (in the frame's order), front, selected.

    Raises:
        InputError: `x`, `y` or `colour` is not a column.
    """
    if len(frame) == 0:
        frame = pd.DataFrame({name: [] for name in {x, y, colour, "key", "architecture"} - {None}})
    for column in (x, y) + ((colour,) if colour else ()):
        one_of("column", column, frame.columns)
    keys = frame["key"].astype(str).to_numpy() if "key" in frame else frame.index.astype(str).to_numpy()
    texts = [architecture_text(text) for text in frame["architecture"]] if "architecture" in frame else list(keys)
    kind = go.Scattergl if len(frame) > GL_ABOVE else go.Scatter
    marker: dict = {"color": PALETTE[0], "opacity": 0.85}
    if colour:
        marker |= {"color": frame[colour].to_numpy(float), "colorscale": "Cividis",
                   "colorbar": {"title": {"text": colour, "side": "right"}, "thickness": 12}}  # fmt: skip
    horizontal, vertical = frame[x].to_numpy(float), frame[y].to_numpy(float)
    figure = go.Figure(kind(
        x=horizontal, y=vertical, mode="markers", marker=marker, text=np.array(texts, dtype=object), customdata=keys,
        hovertemplate=f"{x} %{{x:.4s}}<br>{y} %{{y:.4g}}<br>%{{text}}<extra></extra>", name="architectures",
    ))  # fmt: skip
    order = np.argsort(horizontal)
    on_front = order[np.isin(keys[order], list(front))] if len(front) else order[:0]
    ring = np.flatnonzero(keys == selected) if selected else order[:0]
    figure.add_scatter(x=horizontal[on_front], y=vertical[on_front], mode="lines", name="front", hoverinfo="skip",
                       line={"color": PALETTE[1], "shape": "hv", "width": 2})  # fmt: skip
    figure.add_scatter(
        x=horizontal[ring],
        y=vertical[ring],
        mode="markers",
        name="selected",
        hoverinfo="skip",
        marker={"size": 15, "color": "rgba(0,0,0,0)", "line_color": PALETTE[1], "line_width": 3},
    )
    layout(figure, title=title or f"{y} against {x}", x=x, y=y, height=height, legend=False)
    return figure if len(frame) else waiting(figure, "No architecture scored yet")


def tau_interval(x: np.ndarray, y: np.ndarray, level: float = 1.96) -> tuple[float, float, float]:
    """Kendall's tau-b of two samples with the interval from its asymptotic variance.

    Formula: tau +- level * s with s^2 = 2 / (n (n-1)) * (2 (n-2) / (n (n-1)^2) * sum_i (c_i - mean c)^2 + 1 - tau^2)
    and c_i the concordance of sample i with all others. Meaningless below four samples: NaN. O(n^2).

    Source: Samara and Randles 1988; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, eq. 8.37.
    """
    n = len(x)
    if n < 4:
        return np.nan, np.nan, np.nan
    signs_x, signs_y = np.sign(x[:, None] - x[None, :]), np.sign(y[:, None] - y[None, :])
    concordance = (signs_x * signs_y).sum(1)
    scale = np.sqrt((signs_x**2).sum() * (signs_y**2).sum())
    if scale == 0:
        return np.nan, np.nan, np.nan
    tau = concordance.sum() / scale
    spread = ((concordance - concordance.mean()) ** 2).sum()
    variance = 2 / (n * (n - 1)) * (2 * (n - 2) / (n * (n - 1) ** 2) * spread + 1 - tau**2)
    half = level * np.sqrt(max(variance, 0.0))
    return float(tau), float(max(tau - half, -1)), float(min(tau + half, 1))


def running_tau(frame: pd.DataFrame, proxy: str, target: str, *, points: int = 30) -> pd.DataFrame:
    """Kendall's tau after the first n architectures, for up to `points` values of n.

    Args:
        frame: Columns `proxy` and `target`, one row per architecture in order of arrival; NaN rows are left out.
        proxy: Column of scores.
        target: Column of accuracies.
        points: Largest number of values of n.

    Returns:
        Columns n, tau, low, high (95 % interval).
    """
    pairs = frame[[proxy, target]].dropna().to_numpy(float)
    if len(pairs) < 4:
        return pd.DataFrame({"n": [], "tau": [], "low": [], "high": []})
    counts = np.unique(np.linspace(4, len(pairs), points).astype(int))
    rows = [(n, *tau_interval(pairs[:n, 0], pairs[:n, 1])) for n in counts]
    return pd.DataFrame(rows, columns=["n", "tau", "low", "high"])


def running_tau_figure(
    frame: pd.DataFrame,
    proxies: Sequence[str],
    *,
    target: str = "accuracy",
    baseline: str | None = "params",
    shown: str | None = None,
    title: str = "Rank correlation as scores arrive",
    height: int = 400,
) -> go.Figure:
    """Scatter of one proxy against accuracy, and Kendall's tau of every proxy as architectures arrive.

    Args:
        frame: One row per architecture in order of arrival: `target`, `baseline` and one column per proxy.
        proxies: Columns of scores.
        target: Column of accuracies.
        baseline: Column every proxy has to beat (dashed); None for none.
        shown: The proxy of the scatter; the first by default.
        title: Title.
        height: Pixels.
    """
    if not proxies:
        return empty("No score yet", height=height)
    shown = shown or proxies[0]
    figure = make_subplots(1, 2, column_widths=[0.42, 0.58], horizontal_spacing=0.1)
    colours = dict(zip(proxies, PALETTE * 5, strict=False))
    texts = [architecture_text(text) for text in frame.get("architecture", frame.index.astype(str))]
    hover = f"{shown} %{{x:.4g}}<br>{target} %{{y:.4g}}<br>%{{text}}<extra></extra>"
    figure.add_scatter(
        x=frame[shown].to_numpy(float), y=frame[target].to_numpy(float), mode="markers", marker_color=colours[shown],
        text=np.array(texts, dtype=object), hovertemplate=hover, showlegend=False, row=1, col=1,
    )  # fmt: skip
    for name in dict.fromkeys([*proxies, baseline]):
        if name is None or name not in frame:
            continue
        curve = running_tau(frame, name, target)
        colour = colours.get(name, PALETTE[-1])
        n, low, high = (curve[column].to_numpy(float) for column in ("n", "low", "high"))
        figure.add_scatter(x=np.concatenate([n, n[::-1]]), y=np.concatenate([low, high[::-1]]), fill="toself",
                           fillcolor=fade(colour, 0.14), line_width=0, mode="lines", hoverinfo="skip",
                           showlegend=False, legendgroup=name, row=1, col=2)  # fmt: skip
        dash = "dash" if name == baseline else "solid"
        figure.add_scatter(x=n, y=curve["tau"].to_numpy(float), name=name, legendgroup=name, mode="lines",
                           line={"color": colour, "dash": dash}, row=1, col=2,
                           hovertemplate=f"{name}<br>n %{{x}}<br>τ %{{y:.3f}}<extra></extra>")  # fmt: skip
    layout(figure, title=title, height=height)
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "x": 0.46})
    figure.update_xaxes(title_text=shown, row=1, col=1).update_yaxes(title_text=target, row=1, col=1)
    figure.update_xaxes(title_text="architectures scored", row=1, col=2)
    return figure.update_yaxes(title_text="Kendall τ, 95 % interval", range=[-1, 1], row=1, col=2)


def training_figure(history: pd.DataFrame, *, title: str = "Training", height: int = 360) -> go.Figure:
    """Loss and accuracy per epoch beside the learning rate.

    Args:
        history: `epoch` and any of train_loss, val_loss (left), train_accuracy, val_accuracy (middle), lr (right).
        title: Title.
        height: Pixels.
    """
    figure = make_subplots(1, 3, column_widths=[0.4, 0.36, 0.24], horizontal_spacing=0.1)
    columns = (("train_loss", 1), ("val_loss", 1), ("train_accuracy", 2), ("val_accuracy", 2), ("lr", 3))
    for colour, (column, place) in zip((*PALETTE[:2], *PALETTE[:2], PALETTE[2]), columns, strict=True):
        part = history.dropna(subset=[column]) if column in history and "epoch" in history else None
        values = ([], []) if part is None else (part["epoch"].to_numpy(float), part[column].to_numpy(float))
        figure.add_scatter(x=np.array(values[0]), y=np.array(values[1]), mode="lines+markers", line_color=colour,
                           marker_size=5, name=column.split("_")[0].replace("train", "training").replace(
                               "val", "validation"), legendgroup=column.split("_")[0],
                           showlegend=place == 1, row=1, col=place)  # fmt: skip
    layout(figure, title=title, x="epoch", height=height)
    figure.update_layout(legend={"orientation": "h", "y": 1.12, "x": 0.7})
    for place, name in enumerate(("loss", "accuracy", "learning rate"), start=1):
        figure.update_yaxes(title_text=name, row=1, col=place)
    figure.update_yaxes(tickformat=".3~g", nticks=5, rangemode="tozero", row=1, col=3)
    if len(history) == 0:
        return waiting(figure)
    return count_epochs(figure, history["epoch"].max())


def histogram_figure(frame: pd.DataFrame, column: str, *, bins: int = 40, height: int = HEIGHT) -> go.Figure:
    """How one column is distributed; raises `InputError` if there is no such column."""
    one_of("column", column, list(frame))
    figure = go.Figure(go.Histogram(x=frame[column].to_numpy(float), nbinsx=bins, marker_color=PALETTE[0]))
    return layout(figure, title=f"{len(frame)} random architectures", x=column, y="architectures", height=height)
