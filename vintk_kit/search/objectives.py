"""What a search maximises: proxies, costs, rank ensembles; one objective or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from vintk_kit.errors import InputError, bad_value
from vintk_kit.specs import split_specs

if TYPE_CHECKING:
    from vintk_kit.spaces import Architecture

COSTS = ("params", "macs")
"""Columns that every row has; as objectives they are made small unless `max:` is said."""


@dataclass(frozen=True)
class Evaluation:
    """One scored candidate as strategies see it.

    Attributes:
        architecture: The candidate.
        values: Mean score per column (proxy or cost); a column is absent if it failed.
        feasible: False if a measured constraint (latency) was missed.
    """

    architecture: Architecture
    values: dict[str, float]
    feasible: bool = True


@dataclass(frozen=True)
class Objective:
    """One thing to maximise.

    Attributes:
        text: As the user wrote it.
        columns: Proxies or costs; several form a rank ensemble.
        signs: +1 or -1 per column.
    """

    text: str
    columns: tuple[str, ...]
    signs: tuple[int, ...]


@dataclass(frozen=True)
class Objectives:
    """The objectives of a search, and the order they put candidates in."""

    items: tuple[Objective, ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        """All proxies and costs that take part."""
        return tuple(dict.fromkeys(column for item in self.items for column in item.columns))

    @property
    def proxies(self) -> tuple[str, ...]:
        """The columns that must be scored."""
        return tuple(column for column in self.columns if column not in COSTS)

    def matrix(self, evaluations: Sequence[Evaluation]) -> np.ndarray:
        """Values (n, number of objectives), higher is better; -inf where a candidate failed or missed a constraint.

        An ensemble's value is the sum of the ranks of its columns among the given candidates, so it only has a
        meaning within them.
        """
        result = np.empty((len(evaluations), len(self.items)))
        for i, item in enumerate(self.items):
            columns = [
                [sign * evaluation.values.get(column, np.nan) for evaluation in evaluations]
                for column, sign in zip(item.columns, item.signs, strict=True)
            ]
            result[:, i] = _combined(np.array(columns))
        feasible = np.array([evaluation.feasible for evaluation in evaluations], bool)
        failed = ~np.isfinite(result).all(axis=1) | ~feasible
        result[failed] = -np.inf
        return result

    def order(self, evaluations: Sequence[Evaluation]) -> list[int]:
        """Positions from best to worst.

        One objective: by value. Several: by Pareto layer, then by crowding distance (the lonelier first). Ties are
        settled by the architecture's key, so the order depends on nothing but the candidates.
        """
        values = self.matrix(evaluations)
        keys = [evaluation.architecture.key for evaluation in evaluations]
        if values.shape[1] == 1:
            return sorted(range(len(keys)), key=lambda i: (-values[i, 0], keys[i]))
        layers = pareto_layers(values)
        crowding = crowding_distance(values, layers)
        return sorted(range(len(keys)), key=lambda i: (layers[i], -crowding[i], keys[i]))

    def best(self, evaluations: Sequence[Evaluation], count: int) -> list[Evaluation]:
        """The best `count` of the candidates, best first; failed ones never."""
        valid = [evaluation for evaluation in evaluations if self.usable(evaluation)]
        return [valid[i] for i in self.order(valid)[:count]]

    def usable(self, evaluation: Evaluation) -> bool:
        """Whether every column has a value and the candidate is feasible."""
        return evaluation.feasible and all(
            np.isfinite(evaluation.values.get(column, np.nan)) for column in self.columns
        )


def _combined(columns: np.ndarray) -> np.ndarray:
    if len(columns) == 1:
        return columns[0]
    failed = ~np.isfinite(columns).all(axis=0)
    ranks = np.zeros(columns.shape[1])
    if not failed.all():
        ranks[~failed] = rankdata(columns[:, ~failed], axis=1).sum(axis=0)
    ranks[failed] = np.nan
    return ranks


def parse_objectives(texts: str | Sequence[str] | None, proxies: Sequence[str]) -> Objectives:
    """Reads objectives.

    Args:
        texts: Each `SPEC`, `max:SPEC`, `min:SPEC` or `rank(SPEC, SPEC, ...)`, where SPEC is a proxy, or `params` or
            `macs` (made small unless `max:`). None: the first of `proxies`.
        proxies: Proxies of the search.

    Raises:
        InputError: If a text is malformed or names an unknown proxy.
    """
    if texts is None:
        if not proxies:
            raise bad_value("objectives", texts, "at least one objective or proxy")
        first = str(_canonical(proxies[0]))
        return Objectives((Objective(f"max:{first}" if first in COSTS else first, (first,), (1,)),))
    parts = split_specs(texts) if isinstance(texts, str) else list(texts)
    if not parts:
        raise bad_value("objectives", texts, "at least one objective")
    return Objectives(tuple(_parse_one(part.strip()) for part in parts))


def _parse_one(text: str) -> Objective:
    if text.startswith("rank(") and text.endswith(")"):
        members = [_direction(part) for part in split_specs(text[len("rank(") : -1])]
        if len(members) < 2:
            raise bad_value("objective", text, "rank(SPEC, SPEC, ...) of at least two proxies")
        return Objective(text, tuple(column for column, _ in members), tuple(sign for _, sign in members))
    column, sign = _direction(text)
    return Objective(text, (column,), (sign,))


def _direction(text: str) -> tuple[str, int]:
    head, colon, rest = text.partition(":")
    if colon and head in ("max", "min"):
        column = rest if rest in COSTS else _canonical(rest)
        return column, 1 if head == "max" else -1
    if text in COSTS:
        return text, -1
    return _canonical(text), 1


def _canonical(text: str) -> str:
    from vintk_kit.proxies import check_proxies

    found = [str(spec) for spec in check_proxies([text])]
    if len(found) != 1:
        raise InputError(f"objective: got {text!r}, which stands for {len(found)} proxies; allowed: one proxy")
    return found[0]


def pareto_layers(values: np.ndarray) -> np.ndarray:
    """Layer number of each row: 0 is the Pareto front, 1 the front without layer 0, ...

    Args:
        values: (n, m), higher is better. For large n only layer 0 is cheap: each layer costs n log n or n times its
            size.
    """
    layers = np.full(len(values), -1)
    left = np.arange(len(values))
    layer = 0
    while len(left):
        front = pareto_front(values[left])
        layers[left[front]] = layer
        left = left[~front]
        layer += 1
    return layers


def pareto_front(values: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows that no other row dominates (at least as good everywhere and better somewhere)."""
    order = np.lexsort(-values.T[::-1])
    mask = np.zeros(len(values), bool)
    kept: list[np.ndarray] = []
    for i in order:
        row = values[i]
        front = np.array(kept) if kept else np.empty((0, values.shape[1]))
        dominated = ((front >= row).all(axis=1) & (front > row).any(axis=1)).any()
        if not dominated:
            kept.append(row)
            mask[i] = True
    return mask


def crowding_distance(values: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """Crowding distance within each layer (Deb et al. 2002): large where neighbours are far; ends are infinite."""
    distance = np.zeros(len(values))
    for layer in np.unique(layers):
        members = np.flatnonzero(layers == layer)
        for column in values[members].T:
            order = members[np.argsort(column, kind="stable")]
            sorted_values = np.sort(column, kind="stable")
            span = sorted_values[-1] - sorted_values[0]
            distance[order[[0, -1]]] = np.inf
            if len(order) > 2 and np.isfinite(span) and span > 0:
                distance[order[1:-1]] += (sorted_values[2:] - sorted_values[:-2]) / span
    return distance


def evaluations_of(table: pd.DataFrame, columns: Sequence[str], parse: Any) -> list[Evaluation]:
    """The rows of a wide frame as evaluations; `parse` turns the JSON text into an architecture."""
    records = table[["architecture", *columns]].to_dict("records")
    return [
        Evaluation(parse(record["architecture"]), {c: float(record[c]) for c in columns if pd.notna(record[c])})
        for record in records
    ]
