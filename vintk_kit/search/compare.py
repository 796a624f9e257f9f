"""Two or more runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from vintk_kit.errors import InputError
from vintk_kit.search.result import SearchResult, load_result


def compare_runs(folders: Sequence[str | Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compares searches.

    Args:
        folders: Run folders, at least two.

    Returns:
        A summary (one row per run: strategy, candidates, errors, best value, its parameters and MACs, size of the
        front, seconds of scoring) and the overlap (one row per pair of runs and shared proxy: candidates in common,
        largest difference of scores, Kendall tau-b of the scores).

    Raises:
        InputError: With fewer than two folders.
        StoreError: If a folder holds no search.
    """
    if len(folders) < 2:
        raise InputError(f"compare: got {len(folders)} run(s); allowed: at least two")
    results = [load_result(folder) for folder in folders]
    summary = pd.DataFrame([_summary(result) for result in results])
    pairs = [row for i, first in enumerate(results) for second in results[i + 1 :] for row in _overlap(first, second)]
    columns = ["run", "other", "proxy", "common", "largest_difference", "kendall_tau"]
    return summary, pd.DataFrame(pairs, columns=columns)


def _summary(result: SearchResult) -> dict[str, object]:
    recorded = result.extra["parameters"]
    best = result.leaderboard.iloc[0] if len(result.leaderboard) else None
    return {
        "run": result.folder.name,
        "space": recorded["space"],
        "strategy": recorded["strategy"],
        "objectives": ", ".join(recorded["objectives"]),
        "candidates": len(result.table),
        "failed": int(result.table["rank"].isna().sum()),
        "best": None if best is None else best["key"],
        "value": np.nan if best is None else best["value"],
        "params": pd.NA if best is None else best["params"],
        "macs": pd.NA if best is None else best["macs"],
        "front": len(result.front),
        "seconds": result.frame["seconds"].sum(),
    }


def _overlap(first: SearchResult, second: SearchResult) -> list[dict[str, object]]:
    fixed = {"key", "space", "architecture", "value", "rank", "macs"}
    shared = [name for name in first.table.columns if name in second.table.columns and name not in fixed]
    joined = first.table.merge(second.table, on="key", suffixes=("", " other"))
    rows = []
    for name in shared:
        left = pd.to_numeric(joined[name]).astype("float64")
        right = pd.to_numeric(joined[f"{name} other"]).astype("float64")
        tau = kendalltau(left, right, nan_policy="omit").statistic if len(joined) > 1 else np.nan
        difference = (left - right).abs().max() if len(joined) else np.nan
        rows.append(
            {
                "run": first.folder.name,
                "other": second.folder.name,
                "proxy": name,
                "common": len(joined),
                "largest_difference": difference,
                "kendall_tau": tau,
            }
        )
    return rows
