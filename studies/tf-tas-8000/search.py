"""The search of TF-TAS at its published size: 8,000 random AutoFormer-Tiny candidates, scored without training.

    python studies/tf-tas-8000/search.py --workers 2

It uses the run folder runs/tf-tas-8000, so it can be interrupted and continued. At the end it writes, beside this
file: summary.json (wall time, seconds and forward-backward units per candidate, versions), leaderboard.csv,
architecture.json and cost.csv (measured here against quoted).

TF-TAS drew 8,000 candidates of the AutoFormer space under a parameter limit and ranked them by DSS; the same is done
here, with DSS as implemented in this package. The ranks are of untrained networks; nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from tqdm import tqdm

from vintk_kit.manifest import read_manifest, write_json
from vintk_kit.search import search
from vintk_kit.search.published import run_cost

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", default=None)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--proxies", default="dss,params")
    parser.add_argument("--max-params", type=float, default=6.2e6)
    parser.add_argument("--run", default="tf-tas-8000")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()

    started, seen = time.monotonic(), set()
    with tqdm(total=options.candidates, unit="arch") as bar:

        def on_row(row: dict) -> None:
            if row["key"] not in seen:
                seen.add(row["key"])
                bar.update()

        result = search(
            "autoformer-tiny",
            strategy="random",
            candidates=options.candidates,
            proxies=options.proxies,
            max_params=options.max_params,
            image_size=options.image_size,
            batch_size=options.batch_size,
            workers=0 if options.scheduler else options.workers,
            scheduler=options.scheduler,
            timeout=300.0,
            run=options.run,
            on_row=on_row,
        )
    write_outcome(result, options, time.monotonic() - started)


def write_outcome(result, options: argparse.Namespace, seconds: float) -> None:
    """Writes the four files of the study."""
    frame = result.frame
    manifest = read_manifest(result.folder)
    options.output.mkdir(parents=True, exist_ok=True)
    summary = {
        "candidates": len(result.table),
        "failed": int(result.table["rank"].isna().sum()),
        "scored_in_last_session": result.scored,
        "wall_seconds_of_last_session": round(seconds, 1),
        "scoring_seconds": round(float(frame["seconds"].sum()), 1),
        "seconds_per_candidate": float(frame["seconds"].sum()) / len(result.table),
        "passes_per_candidate": float(frame["passes"].sum()) / len(result.table),
        "workers": options.workers,
        "parameters": manifest["parameters"]["search"],
        "versions": manifest["versions"],
        "hardware": manifest["hardware"],
    }
    write_json(options.output / "summary.json", summary)
    write_json(options.output / "architecture.json", result.winner_record())
    result.leaderboard.to_csv(options.output / "leaderboard.csv", index=False)
    machine = f"{manifest['hardware']['processors']} processors, {manifest['hardware']['machine']}"
    run_cost(frame, workers=options.workers, machine=machine).to_csv(options.output / "cost.csv", index=False)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
