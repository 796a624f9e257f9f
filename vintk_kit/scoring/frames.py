"""Rows as frames: long (one row per architecture, proxy and seed) and wide (one row per architecture)."""

from __future__ import annotations

import pandas as pd

IDENTITY = ["space", "key", "architecture", "params", "macs"]


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per architecture, one column per proxy.

    Args:
        frame: Long rows, as `score` yields them or a store returns them.

    Returns:
        Columns key, space, architecture, params, macs, then one per proxy with the mean score over the seeds that
        have one (NaN if none has), in the order in which architectures and proxies first appear. The proxies
        `params` and `macs` are the columns of that name.
    """
    if frame.empty:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in IDENTITY})
    proxies = [name for name in dict.fromkeys(frame["proxy"]) if name not in IDENTITY]
    scores = frame.assign(score=frame["score"].astype("float64"))
    table = scores.pivot_table(index="key", columns="proxy", values="score", aggfunc="mean", dropna=False)
    about = frame.drop_duplicates("key")[IDENTITY].set_index("key")
    table = about.join(table.reindex(columns=proxies).rename_axis(columns=None))
    return table.reset_index().rename_axis(columns=None)


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Measured cost per proxy over all rows: rows, errors, seconds in all and per candidate, passes per candidate."""
    grouped = frame.groupby("proxy", sort=False)
    return pd.DataFrame(
        {
            "rows": grouped.size(),
            "errors": grouped["error"].count(),
            "seconds": grouped["seconds"].sum(),
            "seconds_per_candidate": grouped["seconds"].mean(),
            "passes_per_candidate": grouped["passes"].mean(),
        }
    ).reset_index()
