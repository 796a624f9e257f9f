"""Runs a study: rows are kept in a run folder, so that a rerun only judges them again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vintk_kit.benchmarks import Benchmark, get_benchmark
from vintk_kit.correlation import benchmark_rows, chosen, judge, noise_ceiling
from vintk_kit.errors import DataMissingError, one_of
from vintk_kit.proxies import check_proxies
from vintk_kit.studies.plans import STUDIES, Study

FILES = {
    "autoformer-tiny-imagenet": "autoformer_tiny_imagenet.csv",
    "autoformer-small-imagenet": "autoformer_small_imagenet.csv",
    "autoformer-base-imagenet": "autoformer_base_imagenet.csv",
    "vit-bench-101-autoformer": "autoformer_tiny_scratch.csv",
    "vit-bench-101-pit": "pit_scratch.csv",
    "nasbench201": "nasbench201.csv",
}
"""Names of tidy tables that a folder of benchmarks may hold instead of the official files."""


def run_study(
    name: str, *, folder: Path | None = None, only: str | None = None, workers: int = 0,
    on_row: Callable[[str, dict[str, Any], int], None] | None = None, resamples: int = 1000,
) -> pd.DataFrame:  # fmt: skip
    """Scores and judges every benchmark of a study; benchmarks whose files are absent are left out.

    Args:
        name: A name of `STUDIES`.
        folder: Folder with tidy tables named as in `FILES`; else the official files in the cache are used.
        only: One benchmark of the study.
        workers: Processes; 0 scores in this one.
        on_row: Called with benchmark, row and the number of rows expected for it.
        resamples: Bootstrap resamples.

    Returns:
        The tables of `judge` with the columns study, benchmark, target, setting in front and ceiling at the end;
        `attrs["seconds"]` holds the seconds that scoring took, by benchmark, rows from the store included.

    Raises:
        InputError: For an unknown study or benchmark.
        DataMissingError: If no benchmark of the study has its file, or the only one asked for has not.
    """
    study = STUDIES[one_of("study", name, STUDIES)]
    names = list(study.sizes) if only is None else [one_of("benchmark", only, study.sizes)]
    tables, seconds = [], {}
    for benchmark_name in names:
        try:
            benchmark = _load(benchmark_name, folder)
        except DataMissingError:
            if only:
                raise
            continue
        for label, options in study.settings.items():
            rows = _score(name, label, study, benchmark, workers, on_row, options)
            table = judge(benchmark, rows, resamples=resamples)
            seconds[benchmark.name] = seconds.get(benchmark.name, 0.0) + float(rows["seconds"].sum())
            front = {"study": name, "benchmark": benchmark.name, "target": benchmark.target, "setting": label}
            for place, (column, value) in enumerate(front.items()):
                table.insert(place, column, value)
            tables.append(table.assign(ceiling=_ceiling(benchmark)))
    if not tables:
        raise DataMissingError(f"study {name}: no file of {', '.join(names)} is here; see: vintk benchmark get NAME")
    table = pd.concat(tables, ignore_index=True)
    table.attrs["seconds"] = seconds
    return table


def load_table(name: str, folder: Path | None = None) -> pd.DataFrame:
    """Reads the table of a study.

    Args:
        name: Study.
        folder: Where it lies; by default the folder `studies` of the checkout, or of the working directory.

    Raises:
        InputError: For an unknown study.
        DataMissingError: If the table is absent; the message says how to make it.
    """
    one_of("study", name, STUDIES)
    usual = (Path(__file__).resolve().parents[2] / "studies", Path.cwd() / "studies")
    for place in usual if folder is None else (folder,):
        if (place / f"{name}.csv").is_file():
            return read_table(place / f"{name}.csv")
    raise DataMissingError(
        f"study {name}: studies/{name}.csv is absent; make it with: python -m vintk_kit.studies {name}"
    )


def read_table(file: Path) -> pd.DataFrame:
    """Reads a table; an empty setting is the empty text, not a missing value."""
    table = pd.read_csv(file)
    return table.assign(setting=table["setting"].astype(object).fillna(""))


def _load(name: str, folder: Path | None) -> Benchmark:
    path = None if folder is None or name not in FILES else folder / FILES[name]
    return get_benchmark(name, path if path is not None and path.exists() else None)


def _score(
    name: str, label: str, study: Study, benchmark: Benchmark, workers: int, on_row: Callable[..., None] | None,
    options: dict[str, Any],
) -> pd.DataFrame:  # fmt: skip
    left_out = set(study.skip.get(benchmark.name, ()))
    proxies = [str(spec) for spec in check_proxies([p for p in study.proxies if p not in left_out])]
    size = study.sizes[benchmark.name]
    options = {**study.options, **options}
    expected = len(chosen(benchmark, size)) * len(proxies) * len(options.get("seeds", (0,)))
    rows = []
    run = "-".join(["study", name, benchmark.name, *re.findall(r"\w+", label)])
    source = benchmark_rows(benchmark, proxies, n=size, run=run, workers=workers, **options)
    for row in source:
        rows.append(row)
        if on_row:
            on_row(benchmark.name, row, expected)
    return pd.DataFrame(rows)


def _ceiling(benchmark: Benchmark) -> float:
    noise = benchmark.metadata.get("seed_noise")
    if noise is None:
        return float("nan")
    return noise_ceiling(benchmark.frame[benchmark.target].to_numpy(), float(noise)).value
