"""Measures the search machinery: throughput of workers, overhead of the scheduler, cost and memory of the loop.

    python benchmarks/search.py [--candidates 60] [--rows 100000] [--output FILE.csv]

Prints one line per measurement and writes a CSV. The numbers are ratios and times of this machine; nothing is asserted.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import pandas as pd

from vintk_kit.scoring import ProcessPool, make_job
from vintk_kit.scoring.stream import ordered
from vintk_kit.search import Evaluation, make_strategy
from vintk_kit.search.objectives import parse_objectives
from vintk_kit.search.window import Window
from vintk_kit.spaces import get_space
from vintk_kit.store import Store

TASK_SECONDS = 0.3
LONG_CANDIDATES = 1_000_000


def throughput(workers: int, candidates: int, proxies: str) -> float:
    """Candidates per second of a search on microvit-32, start-up of the workers excluded."""
    import numpy as np

    from vintk_kit.scoring import Scorer

    space = get_space("microvit-32")
    rng = np.random.default_rng(0)
    chosen = [space.sample(rng) for _ in range(candidates + 2 * workers)]
    with Scorer(make_job("microvit-32", proxies, batch_size=32), workers=workers) as scorer:
        for _ in scorer.run(chosen[: 2 * workers]):
            pass
        start = time.perf_counter()
        for _ in scorer.run(chosen[2 * workers :]):
            pass
        return candidates / (time.perf_counter() - start)


def overhead(workers: int, tasks: int = 40) -> float:
    """Share of the workers' time that is not work, at 0.3 s per candidate."""
    pool = ProcessPool(workers)
    calls = ((i, (0.01,)) for i in range(2 * workers))
    list(ordered(pool, time.sleep, calls, window=3 * workers))
    start = time.perf_counter()
    list(ordered(pool, time.sleep, ((i, (TASK_SECONDS,)) for i in range(tasks)), window=3 * workers))
    elapsed = time.perf_counter() - start
    pool.shutdown(cancel_futures=True)
    return elapsed / (tasks * TASK_SECONDS / workers) - 1


def loop_cost(rows: int, strategy: str = "evolution") -> dict[str, float]:
    """Milliseconds per candidate of ask, constraint, store and tell with `rows` rows stored, and growth of memory."""
    job = make_job("autoformer-tiny", ["params"])
    goals = parse_objectives("max:params", [])
    chooser = make_strategy(strategy, job, goals, Window(params=(None, 6.2e6)), 0, 10)
    with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
        done, marks = 0, []
        base = {"init": "shared", "data_id": "none", "image_size": 224, "batch_size": 32, "seed": 0, "macs": 0}
        start, last = time.perf_counter(), 0
        while done < rows:
            told = []
            for architecture in chooser.ask(chooser.batch):
                params = int(chooser.sampler.cost("params", architecture))
                store.of(architecture.space, architecture.key)
                row = {"space": architecture.space, "key": architecture.key, "architecture": architecture.to_json()}
                result = {"proxy": "params", "score": params, "raw": params, "seconds": 0.0, "passes": 0.0}
                store.add([{**base, **row, **result, "params": params, "error": None, "index": done}])
                told.append(Evaluation(architecture, {"params": float(params)}))
                done += 1
            chooser.tell(told)
            if done - last >= rows // 10:
                elapsed = time.perf_counter() - start
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                marks.append((1000 * elapsed / (done - last), memory))
                start, last = time.perf_counter(), done
        store.export(Path(folder) / "all.csv", format="csv")
    return {
        "first_ms": marks[0][0],
        "last_ms": marks[-1][0],
        "memory_growth_mb": marks[-1][1] - marks[0][1],
    }


def extrapolate(per_second: float) -> pd.DataFrame:
    """Hours for a million candidates on n processors at the measured rate of one, with 5 % lost to scheduling."""
    counts = [1, 2, 16, 64, 256, 1024]
    hours = [LONG_CANDIDATES / (per_second * count * 0.95) / 3600 for count in counts]
    return pd.DataFrame({"processors": counts, "hours_for_1e6": hours})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--proxies", default="ntk,params")
    parser.add_argument("--output", default="runs/benchmark-search.csv")
    options = parser.parse_args()
    one, two = (throughput(n, options.candidates, options.proxies) for n in (1, 2))
    loop = loop_cost(options.rows)
    measured = {
        "candidates per second, 1 worker": one,
        "candidates per second, 2 workers": two,
        "speed-up of 2 workers": two / one,
        "overhead at 0.3 s, 2 workers": overhead(2),
        f"loop ms per candidate, first tenth of {options.rows}": loop["first_ms"],
        "loop ms per candidate, last tenth": loop["last_ms"],
        "memory growth over the loop, MB": loop["memory_growth_mb"],
    }
    for name, value in measured.items():
        print(f"{name:55s} {value:.4g}")
    print(extrapolate(one).to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    target = Path(options.output)
    target.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(measured.items(), columns=["quantity", "value"]).to_csv(target, index=False)
    print(f"file: {target}")


if __name__ == "__main__":
    main()
