"""Figures of correlations: intervals per proxy, and proxies by benchmarks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.plots.template import PALETTE, layout

_SHORT = {
    "statistic='condition_number'": "κ", "statistic='max_eigenvalue'": "λmax", "statistic='log_det'": "log det",
    "statistic=": "", "combine='replace', ": "", ", combine='replace'": "", "per_block=False, ": "",
    ", per_block=False": "", "kind=": "", "groups=": "", "attention+mlp": "attn+mlp", "num_frequencies": "m",
}  # fmt: skip


def short(proxy: str, length: int = 52) -> str:
    """A proxy spec short enough for an axis; the middle is cut."""
    for long, brief in _SHORT.items():
        proxy = proxy.replace(long, brief)
    return proxy if len(proxy) <= length else f"{proxy[: length - 10]}…{proxy[-9:]}"


def interval_figure(table: pd.DataFrame, *, title: str = "Rank correlation with trained accuracy") -> go.Figure:
    """Kendall's tau and the tau given the parameter count, with 95 % intervals, one row per proxy.

    Args:
        table: Frame of `correlation_table`.
        title: Title.
    """
    ordered = table.sort_values("tau")
    figure = go.Figure()
    columns = (("tau", "low", "high", "τ", 0.12), ("partial", "partial_low", "partial_high", "τ given params", -0.12))
    for (value, low, high, name, shift), colour in zip(columns, PALETTE, strict=False):
        figure.add_scatter(
            x=ordered[value].to_numpy(), y=np.arange(len(ordered)) + shift, mode="markers", name=name,
            marker={"color": colour, "size": 9}, text=ordered["proxy"].tolist(),
            hovertemplate="%{text}<br>%{x:.2f}<extra>" + name + "</extra>",
            error_x={"type": "data", "symmetric": False, "array": (ordered[high] - ordered[value]).to_numpy(),
                     "arrayminus": (ordered[value] - ordered[low]).to_numpy(), "thickness": 1.5, "color": colour},
        )  # fmt: skip
    figure.add_vline(x=0, line_width=1, line_dash="dot")
    if "params" in set(table["proxy"]):
        bar = float(table.loc[table["proxy"] == "params", "tau"].iloc[0])
        figure.add_vline(
            x=bar, line_width=1, line_dash="dash", annotation_text="params", annotation_position="top left"
        )
    if "ceiling" in table and np.isfinite(table["ceiling"].iloc[0]):
        figure.add_vline(
            x=float(table["ceiling"].iloc[0]),
            line_width=1,
            annotation_text="label noise",
            annotation_position="top right",
        )
    layout(figure, title=title, x="Kendall τ", height=150 + 34 * len(ordered))
    labels = [short(name) for name in ordered["proxy"]]
    return figure.update_yaxes(tickvals=np.arange(len(ordered)), ticktext=labels)


def zoo_figure(tables: pd.DataFrame, *, value: str = "tau", title: str = "Proxies by benchmarks") -> go.Figure:
    """A heat map of proxies by benchmarks; the text holds value and interval.

    Args:
        tables: Tables of `run_study`, with a column benchmark.
        value: Column shown: tau, partial or within_size.
        title: Title.
    """
    low, high = ("low", "high") if value == "tau" else (f"{value}_low", f"{value}_high")
    grid = tables.pivot_table(index="proxy", columns="benchmark", values=value, sort=False)
    order = grid.mean(axis=1).sort_values().index
    grid = grid.loc[order]
    ends = [
        tables.pivot_table(index="proxy", columns="benchmark", values=name, sort=False).reindex(order)
        for name in (low, high)
    ]
    text = [
        ["" if np.isnan(v) else f"{v:+.2f}<br>[{a:+.2f}, {b:+.2f}]" for v, a, b in zip(*rows, strict=True)]
        for rows in zip(grid.to_numpy(), *(end.to_numpy() for end in ends), strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(), x=list(grid.columns), y=[short(name) for name in order], text=text,
            texttemplate="%{text}", textfont_size=10, colorscale="RdBu", zmid=0, zmin=-1, zmax=1, colorbar_title=value,
        )
    )  # fmt: skip
    return layout(figure, title=title, height=180 + 36 * len(order))
