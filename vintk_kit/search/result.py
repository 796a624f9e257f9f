"""What a search leaves behind: winner, front, leaderboard."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vintk_kit.errors import InputError, StoreError
from vintk_kit.manifest import read_manifest, write_json
from vintk_kit.paths import run_folder
from vintk_kit.scoring.frames import wide
from vintk_kit.search.objectives import Objectives, pareto_front
from vintk_kit.search.window import Window
from vintk_kit.spaces import Architecture
from vintk_kit.store import read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

LEADERBOARD_LENGTH = 50


@dataclass
class SearchResult:
    """The outcome of a search.

    Attributes:
        folder: Run folder, or None.
        frame: All rows, long form.
        table: One row per architecture: key, architecture, params, macs, a column per proxy, `value` (the single
            objective, or the Pareto layer negated), `rank` (1 is best; empty for failed ones), in the order scored.
        winner: The best architecture, or None if all failed.
        front: The part of `table` that no other row dominates; one row if there is one objective.
        objectives: Texts of the objectives.
        scored: Architectures computed by this call.
        reused: Architectures whose rows were in the store already.
        seconds: Wall time of this call.
        note: Why fewer candidates than asked were found, or that the search was stopped; else empty.
        extra: `parameters` of the search, as the manifest records them.
    """

    folder: Path | None
    frame: pd.DataFrame
    table: pd.DataFrame
    winner: Architecture | None
    front: pd.DataFrame
    objectives: tuple[str, ...]
    scored: int = 0
    reused: int = 0
    seconds: float = 0.0
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The best candidates, best first."""
        return self.table.dropna(subset="rank").sort_values("rank").head(LEADERBOARD_LENGTH).reset_index(drop=True)

    def save(self) -> None:
        """Writes architecture.json, front.csv, leaderboard.csv and scores.parquet into the run folder."""
        if self.folder is None:
            return
        if self.winner is not None:
            write_json(self.folder / "architecture.json", self.winner_record())
        try:
            self.front.to_csv(self.folder / "front.csv", index=False)
            self.leaderboard.to_csv(self.folder / "leaderboard.csv", index=False)
            self.frame.to_parquet(self.folder / "scores.parquet", index=False)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: tables cannot be written ({error.strerror}); the stored rows are safe"
            ) from error

    def winner_record(self) -> dict[str, Any]:
        """The winner as JSON: space, choices, key, params, macs, scores."""
        best = self.leaderboard.iloc[0]
        fixed = {"key", "space", "architecture", "params", "macs", "rank", "value"}
        return {
            **json.loads(self.winner.to_json()),
            "key": self.winner.key,
            "params": None if pd.isna(best["params"]) else int(best["params"]),
            "macs": None if pd.isna(best["macs"]) else int(best["macs"]),
            "score": None if pd.isna(best["value"]) else float(best["value"]),
            "objectives": list(self.objectives),
            "scores": {name: float(best[name]) for name in self.table.columns if name not in fixed},
        }


def build_result(
    frame: pd.DataFrame, objectives: Objectives, window: Window, folder: Path | None = None, **facts: Any
) -> SearchResult:
    """Ranks rows and picks winner and front.

    Args:
        frame: Long rows.
        objectives: What to rank by.
        window: Limits; candidates outside are kept in the table without a rank.
        folder: Run folder.
        facts: Further fields of the result.
    """
    table = wide(frame)
    values = table_values(table, objectives)
    usable = np.isfinite(values).all(axis=1) & inside(table, window, frame)
    table["value"], table["rank"] = np.nan, np.nan
    winner, front = None, table.iloc[:0]
    if usable.any():
        values = table_values(table[usable], objectives)  # ensembles rank within the usable candidates
        order, value, on_front = _ranking(values, table.loc[usable, "key"].to_numpy())
        ranks = np.empty(len(order))
        ranks[order] = np.arange(1, len(order) + 1)
        table.loc[usable, "value"], table.loc[usable, "rank"] = value, ranks
        front = table[usable][on_front].sort_values("rank")
        best = table[usable].iloc[order[0]]
        winner = Architecture.from_json(best["architecture"])
    texts = tuple(item.text for item in objectives.items)
    return SearchResult(folder, frame, table, winner, front.reset_index(drop=True), texts, **facts)


def _ranking(values: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order best first, one value per row, mask of the front."""
    if values.shape[1] == 1:
        order = np.lexsort((keys, -values[:, 0]))
        on_front = np.zeros(len(values), bool)
        on_front[order[0]] = True
        return order, values[:, 0], on_front
    on_front = pareto_front(values)
    # The compromise that is best on the front is the one nearest to the best of every objective, each scaled to [0, 1];
    # behind the front the same distance orders the rest.
    span = np.ptp(values, axis=0)
    scaled = (values - values.min(axis=0)) / np.where(span > 0, span, 1)
    closeness = -np.sqrt(((1 - scaled) ** 2).sum(axis=1))
    order = np.lexsort((keys, -closeness, ~on_front))
    return order, closeness, on_front


def table_values(table: pd.DataFrame, objectives: Objectives) -> np.ndarray:
    """Objective values (n, m) of a wide frame, NaN where a column failed."""
    columns = []
    for item in objectives.items:
        parts = [
            sign * pd.to_numeric(table[name]).astype("float64") if name in table else _absent(table)
            for name, sign in zip(item.columns, item.signs, strict=True)
        ]
        if len(parts) == 1:
            columns.append(parts[0].to_numpy())
            continue
        joined = pd.concat(parts, axis=1).dropna()
        columns.append(joined.rank().sum(axis=1).reindex(table.index).to_numpy())
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0))


def _absent(table: pd.DataFrame) -> pd.Series:
    return pd.Series(np.nan, index=table.index)


def inside(table: pd.DataFrame, window: Window, frame: pd.DataFrame) -> np.ndarray:
    """Mask of the rows of a wide frame that keep all limits."""
    mask = np.ones(len(table), bool)
    for name in ("params", "macs", "latency"):
        low, high = getattr(window, name)
        if (low, high) == (None, None):
            continue
        values = table["key"].map(latencies(frame)) if name == "latency" else table[name]
        values = pd.to_numeric(values).astype("float64").to_numpy()
        mask &= (values >= (-np.inf if low is None else low)) & (values <= (np.inf if high is None else high))
    return mask


def latencies(frame: pd.DataFrame) -> pd.Series:
    """Raw value of the `latency` proxy per architecture key."""
    return frame[frame["proxy"].str.partition("(")[0] == "latency"].groupby("key")["raw"].mean()


def load_result(folder: str | Path) -> SearchResult:
    """Reads a search from its run folder (a run name or a path), also while it runs.

    Raises:
        StoreError: If the folder holds no search.
        InputError: If its recorded objectives are not understood.
    """
    from vintk_kit.search.objectives import parse_objectives

    folder = run_folder(folder, create=False)
    recorded = read_manifest(folder).get("parameters", {}).get("search")
    if recorded is None:
        raise StoreError(f"{folder}: holds no search; allowed: the folder of a vintk search run")
    window = Window(**{name: tuple(recorded[name]) for name in ("params", "macs", "latency")})
    frame = read_rows(folder)
    if frame.empty:
        raise InputError(f"{folder}: no candidate is scored yet")
    objectives = parse_objectives(recorded["objectives"], recorded["proxies"])
    return build_result(frame, objectives, window, folder, extra={"parameters": recorded})


def merge_tables(results: Sequence[SearchResult]) -> pd.DataFrame:
    """The tables of several runs under each other, with a column `run`."""
    return pd.concat([result.table.assign(run=result.folder.name) for result in results], ignore_index=True)
