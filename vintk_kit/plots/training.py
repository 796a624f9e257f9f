"""Figures of trainings: confusion matrix, contest, one-shot accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.plots.template import PALETTE, SEQUENTIAL, count_epochs, layout


def confusion_figure(confusion: pd.DataFrame, *, title: str = "Confusion matrix") -> go.Figure:
    """A heat map of the share of each true class (rows) predicted as each class (columns).

    Args:
        confusion: Counts (C, C) with class names.
        title: Title.
    """
    counts = confusion.to_numpy(float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = go.Figure(
        go.Heatmap(
            z=share, x=list(map(str, confusion.columns)), y=list(map(str, confusion.index)), customdata=counts,
            colorscale=SEQUENTIAL, zmin=0, zmax=1, colorbar_title="share",
            hovertemplate="true %{y}<br>predicted %{x}<br>%{z:.1%} (%{customdata:.0f} images)<extra></extra>",
        )
    )  # fmt: skip
    layout(figure, title=title, x="predicted", y="true", height=440)
    figure.update_yaxes(autorange="reversed")
    return figure


def contest_figure(table: pd.DataFrame, history: pd.DataFrame) -> go.Figure:
    """Test accuracy per epoch of every entrant; the winner is the thick line."""
    figure = go.Figure()
    for index, entrant in enumerate(table["entrant"]):
        part = history[history["entrant"] == entrant]
        figure.add_scatter(
            x=part["epoch"], y=part["val_accuracy"], name=entrant, mode="lines+markers",
            line={"width": 4 if entrant == "winner" else 1.5, "color": PALETTE[index % len(PALETTE)]},
        )  # fmt: skip
    layout(figure, title="Winner against its controls", x="epoch", y="validation accuracy")
    return count_epochs(figure, history["epoch"].max())


def one_shot_figure(table: pd.DataFrame, x: str = "one_shot", y: str = "accuracy") -> go.Figure:
    """A scatter of one column against another, coloured by parameters."""
    figure = go.Figure(
        go.Scatter(
            x=table[x], y=table[y], mode="markers", text=table["key"],
            marker={"color": np.log10(table["params"]), "colorscale": SEQUENTIAL, "colorbar_title": "log10 params"},
        )
    )  # fmt: skip
    layout(figure, title=f"{y} against {x}", x=x, y=y)
    return figure
