"""Scores a benchmark's architectures and correlates them with their trained accuracy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vintk_kit.benchmarks import Benchmark, get_benchmark
from vintk_kit.correlation.table import correlation_table
from vintk_kit.errors import bad_value, one_of
from vintk_kit.scoring import score, wide
from vintk_kit.spaces import Architecture
from vintk_kit.specs import parse_spec, split_specs


def chosen(benchmark: Benchmark, n: int | None, seed: int = 0) -> pd.DataFrame:
    """A random part of a benchmark's rows, the same for the same seed; all of them if n is None or too large."""
    if n is not None and n < 3:
        raise bad_value("number of architectures", n, "at least 3")
    frame = benchmark.frame
    if n is None or n >= len(frame):
        return frame
    order = np.random.default_rng([seed, 21]).permutation(len(frame))
    return frame.iloc[order[:n]].reset_index(drop=True)


def benchmark_rows(
    benchmark: str | Benchmark,
    proxies: str | Sequence[str],
    *,
    n: int | None = None,
    seed: int = 0,
    stop: threading.Event | None = None,
    **scoring: Any,
) -> Iterator[dict[str, Any]]:
    """Scoring rows of a benchmark's architectures, each with the column `accuracy` of the benchmark's target.

    Args:
        benchmark: Name or benchmark.
        proxies: Proxy specs.
        n: A random part of the architectures.
        seed: Seed of that choice.
        stop: Ends the scoring.
        **scoring: Options of `vintk_kit.scoring.score` (image_size, batch_size, seeds, init, run, workers, data, ...).
    """
    benchmark = get_benchmark(benchmark)
    part = chosen(benchmark, n, seed)
    accuracy = dict(zip(part["key"], part[benchmark.target], strict=True))
    options = {"num_classes": benchmark.num_classes, **benchmark.scoring, **scoring}
    architectures = [Architecture.from_json(text) for text in part["architecture"]]
    for row in score(benchmark.space, architectures, proxies, stop=stop, **options):
        yield {**row, "accuracy": accuracy[row["key"]]}


def correlate(
    benchmark: str | Benchmark,
    proxies: str | Sequence[str],
    *,
    n: int | None = None,
    target: str | None = None,
    seed: int = 0,
    resamples: int = 1000,
    path: str | Path | None = None,
    **scoring: Any,
) -> pd.DataFrame:
    """Judges proxies on a benchmark.

    Args:
        benchmark: Name or benchmark.
        proxies: Proxy specs; `params` is always added, as the baseline that every proxy must beat.
        n: A random part of the architectures.
        target: Accuracy column; by default the benchmark's.
        seed: Seed of the choice of architectures and of the bootstrap.
        resamples: Bootstrap resamples.
        path: File of the benchmark, if it is not found by its name.
        **scoring: Options of `vintk_kit.scoring.score`.

    Returns:
        The table of `correlation_table`.
    """
    benchmark = get_benchmark(benchmark, path)
    target = one_of("target", target or benchmark.target, benchmark.accuracies)
    names = [str(parse_spec(text)) for text in (split_specs(proxies) if isinstance(proxies, str) else proxies)]
    names = list(dict.fromkeys([*names, "params"]))
    rows = list(benchmark_rows(benchmark, names, n=n, seed=seed, **scoring))
    return judge(benchmark, pd.DataFrame(rows), target=target, seed=seed, resamples=resamples)


def judge(
    benchmark: Benchmark, rows: pd.DataFrame, *, target: str | None = None, seed: int = 0, resamples: int = 1000
) -> pd.DataFrame:
    """The correlation table of scoring rows that exist already.

    Args:
        benchmark: Supplies accuracy, parameter count and cells.
        rows: Long rows of `score`.
        target: Accuracy column; by default the benchmark's.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.
    """
    target = target or benchmark.target
    table = wide(rows)
    proxies = list(dict.fromkeys(rows["proxy"]))
    truth = benchmark.frame[["key", "cell", *benchmark.accuracies]]
    joined = table.merge(truth, on="key", how="inner")
    with_score = [name for name in proxies if joined[name].notna().sum() >= 3]
    return correlation_table(
        joined, with_score, target, cells="cell" if joined["cell"].nunique() > 1 else None, seed=seed,
        resamples=resamples,
    )  # fmt: skip
