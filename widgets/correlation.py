"""The correlation panel: does a score rank architectures as training does, and since how many?"""

from __future__ import annotations

import ipywidgets as w
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.errors import one_of
from vintk_kit.plots.scores import running_tau_figure, tau_interval

from .live import Rows
from .panel import RunPanel


class CorrelationPanel(RunPanel):
    """See `correlation_panel`."""

    count = "key"

    def __init__(
        self, benchmark: pd.DataFrame, rows: Rows, *, target: str = "accuracy", baseline: str | None = "params",
        live: bool = True, total: int | None = None,
    ) -> None:  # fmt: skip
        for column in ("key", target) + ((baseline,) if baseline else ()):
            one_of("column of the benchmark", column, list(benchmark))
        self._truth = benchmark.drop_duplicates("key").set_index("key")
        self.target, self.baseline = target, baseline
        self._shown: str | None = None
        super().__init__(rows, live=live, total=total)

    @property
    def joined(self) -> pd.DataFrame:
        """One row per scored architecture in order of arrival: target, baseline, a column per proxy."""
        frame = self.frame
        columns = [self.target, *([self.baseline] if self.baseline else [])]
        columns += ["architecture"] if "architecture" in self._truth else []
        if len(frame) == 0:
            return pd.DataFrame(columns=["key", *columns])
        order = frame["key"].drop_duplicates()
        scores = frame.pivot_table(index="key", columns="proxy", values="score", aggfunc="mean").reindex(order)
        truth = self._truth[[name for name in columns if name not in scores]]
        return scores.join(truth, how="inner").rename_axis("key").reset_index()

    @property
    def proxies(self) -> list[str]:
        """Proxies with at least one score, in order of arrival."""
        frame = self.frame
        return [] if len(frame) == 0 else list(frame.dropna(subset=["score"])["proxy"].drop_duplicates())

    @property
    def table(self) -> pd.DataFrame:
        """Kendall's tau with its 95 % interval per proxy, the baseline last."""
        joined, rows = self.joined, []
        names = dict.fromkeys([*self.proxies, *([self.baseline] if self.baseline else [])])
        for name in [name for name in names if name in joined]:
            pairs = joined[[name, self.target]].dropna().to_numpy(float)
            tau, low, high = tau_interval(pairs[:, 0], pairs[:, 1])
            rows.append({"proxy": name, "tau": tau, "low": low, "high": high, "n": len(pairs)})
        return pd.DataFrame(rows, columns=["proxy", "tau", "low", "high", "n"])

    def figure(self) -> go.Figure:
        proxies = self.proxies
        shown = self._shown if self._shown in proxies else None  # a run started anew has not met it yet
        return running_tau_figure(self.joined, proxies, target=self.target, baseline=self.baseline, shown=shown)

    def tools(self) -> list[w.Widget]:
        self._pick = w.Dropdown(description="scatter", layout=w.Layout(width="260px"),
                                style={"description_width": "55px"})  # fmt: skip
        self._pick.add_class("vk-proxy")
        self._pick.observe(lambda change: self._choose(change["new"]), "value")
        return [self._pick]

    def extras(self) -> list[w.Widget]:
        self._numbers = w.HTML(layout=w.Layout(height="150px", overflow="auto"))
        self._numbers.add_class("vk-numbers")
        return [self._numbers]

    def _choose(self, name: str | None) -> None:
        if name and name != self._shown:
            self._shown = name
            if self._view is not None:
                self.live_figure.show(self.figure())

    def refresh(self) -> None:
        proxies = tuple(self.proxies)
        if self._pick.options != proxies:
            self._pick.options = proxies
            self._pick.value = self._shown if self._shown in proxies else next(iter(proxies), None)
        self._numbers.value = tau_html(self.table)


def tau_html(table: pd.DataFrame) -> str:
    """The table of taus, or what it waits for."""
    if not (table["n"] >= 4).any():
        return '<div class="vk-note">Kendall τ appears once four architectures are scored.</div>'
    lines = []
    for row in table.itertuples():
        known = np.isfinite(row.tau)
        tau, interval = (f"{row.tau:+.3f}", f"{row.low:+.2f} to {row.high:+.2f}") if known else ("n/a", "")
        lines.append(f"<tr><td>{row.proxy}</td><td>{tau}</td><td>{interval}</td><td>{row.n}</td></tr>")
    head = "<tr><th>proxy</th><th>Kendall τ</th><th>95 % interval</th><th>architectures</th></tr>"
    return f'<table class="vk-plain">{head}{"".join(lines)}</table>'


def correlation_panel(
    benchmark: pd.DataFrame, rows: Rows, *, target: str = "accuracy", baseline: str | None = "params",
    live: bool = True, total: int | None = None,
) -> CorrelationPanel:  # fmt: skip
    """Scores against trained accuracy while they arrive: a scatter and Kendall's tau with its interval as lines.

    Args:
        benchmark: One row per trained architecture: `key`, the target, the baseline; `architecture` for hovering.
        rows: The rows function of scoring rows: key, proxy, score.
        target: Column of accuracies.
        baseline: Column every proxy has to beat, drawn dashed; None for none.
        live: Widgets, or the static figure.
        total: Expected number of architectures.

    Returns:
        A panel; `panel.table` holds tau with its interval per proxy, `panel.joined` the scores beside the accuracies.

    Raises:
        InputError: The benchmark lacks a column.
    """
    return CorrelationPanel(benchmark, rows, target=target, baseline=baseline, live=live, total=total)
