"""Rank aggregation: operations on columns of a frame with one row per architecture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vintk_kit.errors import bad_value


def rank_sum(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Returns the mean of fractional ranks over columns, in (0, 1], higher is better.

    Ties share their mean rank. A row with a missing score in any column gets NaN, and has no place in the ranks.

    Args:
        frame: One row per architecture.
        columns: Names of score columns, higher is better.
    """
    ranks = _ranks(frame, columns)
    return ranks.div(len(ranks.dropna()) or 1).mean(axis=1, skipna=False).rename("rank_sum")


def log_rank(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Returns the sum over columns of log(rank / M), at most 0, higher is better (AZ-NAS, CVPR 2024).

    Low ranks are punished much more than high ones are rewarded. Missing scores as in `rank_sum`.

    Args:
        frame: One row per architecture (M of them with all scores).
        columns: Names of score columns, higher is better.
    """
    ranks = _ranks(frame, columns)
    return np.log(ranks / (len(ranks.dropna()) or 1)).sum(axis=1, skipna=False).rename("log_rank")


def _ranks(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    columns = list(columns)
    missing = [name for name in columns if name not in frame]
    if missing or not columns:
        raise bad_value("columns", missing or columns, list(frame.columns))
    whole = frame[columns].astype(float).replace([np.inf, -np.inf], np.nan).dropna()
    return whole.rank(method="average").reindex(frame.index)
