"""Figures of a search, and the report page that holds them all."""

from __future__ import annotations

import html
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.errors import StoreError
from vintk_kit.plots.scores import scatter_figure
from vintk_kit.plots.template import PALETTE, empty, fade, layout
from vintk_kit.scoring.frames import costs
from vintk_kit.search.encoding import Encoding
from vintk_kit.search.published import run_cost
from vintk_kit.search.result import table_values
from vintk_kit.spaces import Architecture, get_space

if TYPE_CHECKING:
    from vintk_kit.search.result import SearchResult


def score_against_params(result: SearchResult) -> go.Figure:
    """Value of every candidate against its parameters; the winner is ringed, the front joined."""
    table = result.table.dropna(subset=["value", "params"])
    winner = None if result.winner is None else result.winner.key
    front = result.front["key"].tolist() if len(result.objectives) > 1 else []
    title = f"{' and '.join(result.objectives)} against parameters"
    return scatter_figure(table, x="params", y="value", selected=winner, front=front, title=title)


def front_figure(result: SearchResult, goals: object) -> go.Figure:
    """The first two objectives against each other, with the Pareto front; a line of text if there is only one."""
    if len(result.objectives) < 2:
        return empty("one objective: the front is the winner alone", height=120)
    table = result.table.dropna(subset="value")
    values = table_values(table, goals)
    first, second = result.objectives[:2]
    frame = table[["key", "architecture"]].assign(**{first: values[:, 0], second: values[:, 1]})
    return scatter_figure(frame, x=first, y=second, front=result.front["key"].tolist(), title="Pareto front")


def best_so_far(result: SearchResult) -> go.Figure:
    """The best value after each candidate, in the order they were chosen."""
    values = result.table["value"].to_numpy("float64")
    if not np.isfinite(values).any():
        return empty("no candidate has a score yet")
    best = np.fmax.accumulate(values)
    figure = go.Figure(go.Scatter(x=np.arange(1, len(best) + 1), y=best, mode="lines", line={"shape": "hv"}))
    return layout(figure, title="Best value found", x="candidates", y="value", legend=False)


def generations(result: SearchResult, batch: int) -> go.Figure:
    """Distribution of the values in each round of the strategy, at most twenty boxes.

    Args:
        result: The search.
        batch: Candidates per round.
    """
    values = result.table["value"].to_numpy("float64")
    if not np.isfinite(values).any():
        return empty("no candidate has a score yet")
    rounds = np.arange(len(values)) // max(1, batch, -(-len(values) // 20))
    figure = go.Figure()
    for number in np.unique(rounds):
        inside = values[(rounds == number) & np.isfinite(values)]
        figure.add_box(y=inside, name=str(number + 1), marker_color=PALETTE[0], fillcolor=fade(PALETTE[0], 0.25))
    return layout(figure, title="Values per round", x="round", y="value", legend=False)


def marginal_effects(result: SearchResult) -> pd.DataFrame:
    """Mean value of the candidates that hold an option, minus the mean of all.

    Returns:
        Columns choice, option, effect, error (standard error of the mean), count; per-layer choices count every layer,
        so a candidate with nine layers of three heads adds nine.
    """
    table = result.table.dropna(subset="value")
    if table.empty:
        return pd.DataFrame(columns=["choice", "option", "effect", "error", "count"])
    encoding = Encoding(get_space(table["space"].iloc[0]))
    pieces = [
        (slot.partition("[")[0], str(option), value)
        for text, value in zip(table["architecture"], table["value"], strict=True)
        for slot, option in encoding.encode(Architecture.from_json(text)).items()
    ]
    long = pd.DataFrame(pieces, columns=["choice", "option", "value"])
    grouped = long.groupby(["choice", "option"], sort=False)["value"]
    effects = grouped.agg(["mean", "sem", "size"]).reset_index()
    effects["mean"] -= table["value"].mean()
    return effects.rename(columns={"mean": "effect", "sem": "error", "size": "count"})


def effects_figure(result: SearchResult) -> go.Figure:
    """The marginal effect of each option, one colour per choice."""
    effects = marginal_effects(result)
    if effects.empty:
        return empty("no candidate has a score yet")
    figure = go.Figure()
    for i, (choice, part) in enumerate(effects.groupby("choice", sort=False)):
        part = part.sort_values("option", key=_sortable)
        figure.add_bar(
            x=[f"{choice} {option}" for option in part["option"]],
            y=part["effect"].to_numpy(),
            error_y={"type": "data", "array": part["error"].to_numpy(), "thickness": 1},
            name=choice,
            marker_color=PALETTE[i % len(PALETTE)],
            customdata=part["count"].to_numpy(),
            hovertemplate="%{x}: %{y:.4g} (%{customdata} times)<extra></extra>",
        )
    return layout(figure, title="Marginal effect of each choice", y="mean value minus overall mean", legend=False)


def _sortable(options: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(options, errors="coerce")
    return options if numbers.isna().any() else numbers


def write_report(result: SearchResult, path: Path | None = None, *, workers: int = 0) -> Path:
    """Writes one HTML page with figures and tables that reads without a network.

    Args:
        result: A search with a run folder, or any search if `path` is given.
        path: Target; by default report.html in the run folder.
        workers: Worker processes of the run, for the cost table.

    Returns:
        The path.

    Raises:
        StoreError: If the page cannot be written.
    """
    from vintk_kit.search import parse_objectives

    target = path or Path(result.folder or ".") / "report.html"
    goals = parse_objectives(list(result.objectives), [])
    batch = int(result.extra.get("parameters", {}).get("batch", 50))
    figures = (
        score_against_params(result),
        front_figure(result, goals),
        best_so_far(result),
        generations(result, batch),
        effects_figure(result),
    )
    parts = [f"<h1>{html.escape(target.parent.name)}</h1>", _summary(result)]
    for i, figure in enumerate(figures):
        parts.append(figure.to_html(full_html=False, include_plotlyjs=i == 0))
    parts += ["<h2>Leaderboard</h2>", _table(result.leaderboard.drop(columns=["space", "architecture"]).head(20))]
    parts += ["<h2>Cost per proxy, measured</h2>", _table(costs(result.frame))]
    machine = f"{os.cpu_count()} processors, {platform.machine()}"
    parts += ["<h2>Search cost: measured here, and quoted from the papers</h2>", _NOTE]
    parts.append(_table(run_cost(result.frame, workers=workers, machine=machine)))
    try:
        target.write_text(_PAGE.format(title=html.escape(target.parent.name), body="\n".join(parts)))
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error.strerror}); the stored rows are safe") from error
    return target


def _summary(result: SearchResult) -> str:
    table = result.table
    lines = [
        f"{len(table)} candidates, {int(table['rank'].isna().sum())} without a rank (failed or outside the limits)",
        f"objectives: {', '.join(result.objectives)}",
    ]
    if result.winner is not None:
        lines.append(f"winner: {result.winner.to_json()}")
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _table(frame: pd.DataFrame) -> str:
    return frame.to_html(index=False, float_format=lambda value: f"{value:.5g}", na_rep="", border=0)


_NOTE = (
    "<p>Seconds of this run are summed over workers and were measured on the hardware named. GPU-days of other methods "
    "are quoted; they were not measured here and a GPU-day is not a processor-day.</p>"
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-size: .85rem; display: block; overflow-x: auto; }}
td, th {{ padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }}
p {{ overflow-wrap: anywhere; }}
</style></head><body>
{body}
</body></html>
"""
