"""From a wide frame of scores and accuracies to a table of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vintk_kit.correlation.statistics import (
    Interval,
    pair_signs,
    partial,
    pearson_log,
    regret,
    resample_counts,
    size_bins,
    taus,
    top_recall,
)
from vintk_kit.errors import InputError, one_of


def correlation_table(
    frame: pd.DataFrame,
    proxies: Sequence[str],
    target: str,
    *,
    control: str = "params",
    baseline: str | None = "ntk",
    cells: str | None = None,
    bins: int = 5,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well proxies rank architectures, and how sure that is.

    All intervals are 95 % percentile bootstrap intervals over architectures; differences are paired (one resample
    serves both proxies). Rows of failed candidates are left out, proxy by proxy.

    Args:
        frame: One row per architecture with a column per proxy, the target and the control.
        proxies: Columns to judge; higher scores are meant to be better.
        target: Column with the trained accuracy.
        control: Column whose effect is removed: the partial tau given it, and tau among pairs in one of `bins`
            quantile bins of it.
        baseline: Proxy that the others are compared with; None or an absent column leaves that out.
        cells: Column whose equal values make a cell (such as embed dim and depth); tau within cells is added.
        bins: Number of size bins.
        resamples: Bootstrap resamples.
        seed: Their seed.

    Returns:
        One row per proxy, best first: proxy, n, tau, low, high, spearman, pearson_log, partial, partial_low,
        partial_high, within_size (low, high), within_cell (low, high), over_control (difference of taus, low, high),
        over_baseline (low, high), recall_10, regret_10.

    Raises:
        InputError: If a column is absent or fewer than three architectures remain.
    """
    for name in (*proxies, target, control, *([cells] if cells else [])):
        one_of("column", name, list(frame.columns))
    rows = [_judge(frame, name, target, control, baseline, cells, bins, resamples, seed) for name in proxies]
    return pd.DataFrame(rows).sort_values("tau", ascending=False, ignore_index=True)


def _judge(
    frame: pd.DataFrame, proxy: str, target: str, control: str, baseline: str | None, cells: str | None, bins: int,
    resamples: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    wanted = list(dict.fromkeys([proxy, target, control]))
    part = frame[np.isfinite(frame[wanted].astype(float)).all(axis=1)]
    if len(part) < 3:
        raise InputError(f"{proxy}: got {len(part)} architectures with a score; allowed: at least 3")
    score, accuracy, size = (part[name].to_numpy(float) for name in (proxy, target, control))
    counts = resample_counts(len(part), resamples, seed)
    x, y, z = (pair_signs(values) for values in (score, accuracy, size))
    xy, xz, yz = taus(x, y, counts), taus(x, z, counts), taus(y, z, counts)
    row: dict[str, Any] = {"proxy": proxy, "n": len(part), **_columns("tau", xy)}
    row |= {"spearman": _spearman(score, accuracy), "pearson_log": pearson_log(score, accuracy)}
    row |= _columns("partial", partial(xy, xz, yz) if proxy != control else np.full(len(xy), np.nan))
    bin_of = size_bins(size, bins)
    row |= _columns("within_size", taus(x, y, counts, bin_of[:, None] == bin_of[None]))
    if cells:
        codes, _ = pd.factorize(part[cells])
        row |= _columns("within_cell", taus(x, y, counts, codes[:, None] == codes[None]))
    row |= _columns("over_control", xy - yz)
    if baseline in frame.columns and baseline != proxy and np.isfinite(part[baseline].astype(float)).all():
        row |= _columns("over_baseline", xy - taus(pair_signs(part[baseline].to_numpy(float)), y, counts))
    return row | {"recall_10": top_recall(score, accuracy), "regret_10": regret(score, accuracy)}


def _columns(name: str, resampled: np.ndarray) -> dict[str, float]:
    interval = Interval.of(resampled)
    ends = ("low", "high") if name == "tau" else (f"{name}_low", f"{name}_high")
    return {name: interval.value, ends[0]: interval.low, ends[1]: interval.high}


def _spearman(score: np.ndarray, accuracy: np.ndarray) -> float:
    if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
        return float("nan")
    return float(stats.spearmanr(score, accuracy).statistic)
