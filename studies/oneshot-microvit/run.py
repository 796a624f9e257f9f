"""One-shot accuracy, ViNTK and from-scratch accuracy of microvit-32 on photopatch, and how they correlate.

    python studies/oneshot-microvit/run.py

From-scratch accuracies are those of the committed benchmark `microvit-photopatch`; only the supernet is trained here,
on the window of multiply-adds that the benchmark was drawn from. Resumable: supernet, one-shot accuracies and scores
are kept in runs/study-oneshot-microvit. Writes results.csv (a row per architecture), tau.csv (Kendall's tau-b of each
pair, with 95 % bootstrap intervals over architectures) and study.json beside this file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from vintk_kit.benchmarks import Benchmark, get_benchmark
from vintk_kit.correlation import Interval, pair_signs, partial, resample_counts, taus
from vintk_kit.manifest import bind_parameters, environment, write_json
from vintk_kit.paths import run_folder
from vintk_kit.proxies.kernel import VINTK_DEFAULT
from vintk_kit.scoring import score, wide
from vintk_kit.spaces import Architecture, Supernet
from vintk_kit.training.quick import tensor_data
from vintk_kit.training.supernet import one_shot, train_supernet

HERE = Path(__file__).resolve().parent
RUN = "study-oneshot-microvit"
COLUMNS = ("one_shot", "vintk", "ntk", "params", "accuracy")
MAX_MACS = 9e6
"""The benchmark's window, see `microvit_photopatch.json`."""
TEST_IMAGES = 1114
"""Of the one-shot accuracies: the same images for all."""
SEEDS = (0,)
RESAMPLES = 1000


def timed(name: str, work: Callable[[], Any]) -> Any:
    """The result of a stage; its seconds are added to those of earlier calls."""
    file, started = run_folder(RUN) / "seconds.json", time.perf_counter()
    result = work()
    seconds = json.loads(file.read_text()) if file.is_file() else {}
    write_json(file, seconds | {name: round(seconds.get(name, 0) + time.perf_counter() - started, 1)})
    return result


def supernet(space: str, epochs: int) -> Supernet:
    """The trained supernet."""
    with tqdm(total=epochs, desc="supernet") as bar:

        def show(row: dict[str, Any]) -> None:
            bar.update(row["epoch"] - bar.n)
            bar.set_postfix_str(f"loss {row['train_loss']:.3f}")

        return train_supernet(space, epochs=epochs, max_macs=MAX_MACS, run=RUN, on_epoch=show)


def one_shots(space: str, trained: Supernet, chosen: list[Architecture], epochs: int, workers: int) -> pd.DataFrame:
    """One-shot accuracies in per cent on every third test image, appended to a file as they come."""
    bind_parameters(run_folder(RUN), "one_shot", {"epochs": epochs, "limit": TEST_IMAGES})
    file = run_folder(RUN) / "one_shot.csv"
    rows = pd.read_csv(file).to_dict("records") if file.is_file() else []
    known = {row["key"] for row in rows}
    todo = [arch for arch in chosen if arch.key not in known]
    tensor_data("photopatch", trained.sizes[2])  # read before the fork, so that the workers share it
    with get_context("fork").Pool(workers) as pool:
        found = pool.imap_unordered(functools.partial(evaluated, space, trained), todo)
        for row in tqdm(found, total=len(todo), desc="one-shot"):
            rows.append(row)
            pd.DataFrame(rows).to_csv(file, index=False)
    return pd.DataFrame(rows)


def evaluated(space: str, trained: Supernet, arch: Architecture) -> dict[str, Any]:
    """One row of `one_shots`."""
    found = one_shot(space, trained, [arch], limit=TEST_IMAGES).iloc[0]
    return {"key": arch.key, "one_shot": round(100 * found["one_shot"], 3)}


def scores(benchmark: Benchmark, chosen: list[Architecture]) -> pd.DataFrame:
    """ViNTK and NTK of the untrained networks."""
    proxies, options = ["vintk", "ntk"], {"num_classes": benchmark.num_classes, **benchmark.scoring}
    rows = score(benchmark.space, chosen, proxies, seeds=SEEDS, run=RUN, **options)
    table = list(tqdm(rows, total=len(chosen) * len(proxies) * len(SEEDS), desc="scores"))
    return wide(pd.DataFrame(table))[["key", *proxies]]


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Tau of each pair of columns, and the partial tau given the parameter count."""
    counts = resample_counts(len(table), RESAMPLES, seed=0)
    signs = {name: pair_signs(table[name].to_numpy(float)) for name in COLUMNS}
    rows = []
    for a, b in itertools.combinations(COLUMNS, 2):
        pair = taus(signs[a], signs[b], counts)
        tau = Interval.of(pair)
        row = {"a": a, "b": b, "n": len(table), "tau": tau.value, "low": tau.low, "high": tau.high}
        if "params" not in (a, b):
            size = (taus(signs[name], signs["params"], counts) for name in (a, b))
            given = Interval.of(partial(pair, *size))
            row |= {"partial": given.value, "partial_low": given.low, "partial_high": given.high}
        rows.append(row)
    return pd.DataFrame(rows).round(4)


def main() -> None:
    """Runs what is missing and writes the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epochs", type=int, default=80, help="of the supernet")
    options.add_argument("--workers", type=int, default=1, help="processes that evaluate")
    given = options.parse_args()
    epochs = given.epochs
    benchmark, about = get_benchmark("microvit-photopatch"), environment()
    space, chosen = benchmark.space, [Architecture.from_json(text) for text in benchmark.frame["architecture"]]
    trained = timed("supernet", lambda: supernet(space, epochs))
    shots = timed("one_shot", lambda: one_shots(space, trained, chosen, epochs, given.workers))
    scored = timed("scores", lambda: scores(benchmark, chosen))
    table = (
        benchmark.frame[["key", "architecture", "params", "accuracy"]].merge(shots, on="key").merge(scored, on="key")
    )
    table.to_csv(HERE / "results.csv", index=False)
    correlations(table).to_csv(HERE / "tau.csv", index=False)
    write_json(HERE / "study.json", about | {
        "command": f"python studies/oneshot-microvit/run.py --epochs {epochs}",
        "supernet": {"epochs": epochs, "max_macs": MAX_MACS},
        "test_images": {"one_shot": "every third of 3342", "accuracy": "all 3342"},
        "vintk": VINTK_DEFAULT, "seeds": SEEDS, "resamples": RESAMPLES, "architectures": len(table),
        "accuracies": table[["one_shot", "accuracy"]].agg(["mean", "std", "min", "max"]).round(2).to_dict(),
        "seconds": json.loads((run_folder(RUN) / "seconds.json").read_text()),
    })  # fmt: skip


if __name__ == "__main__":
    main()
