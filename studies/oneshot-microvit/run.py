"""One-shot accuracy, ViNTK and from-scratch accuracy of microvit-32 on photopatch, and how they correlate.

Run:  python studies/oneshot-microvit/run.py     (resumable; writes its tables beside this file)
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from tqdm import tqdm

from vintk_kit.spaces import get_space
from vintk_kit.training import train_quick
from vintk_kit.training.supernet import load_supernet, one_shot, train_supernet

HERE = Path(__file__).resolve().parent
COLUMNS = ("one_shot", "vintk", "ntk", "params", "accuracy")


def architectures(count: int, max_params: float) -> list:
    """Uniform draws under a parameter limit, which keeps from-scratch training short."""
    space, rng, found = get_space("microvit-32"), np.random.default_rng(2026), []
    while len(found) < count:
        arch = space.sample(rng)
        if arch["patch_size"] == 8 and space.params(arch) <= max_params and arch not in found:
            found.append(arch)
    return found


def supernet(epochs: int):
    """The trained supernet; read from its file when it is there."""
    file = HERE / "supernet.safetensors"
    if file.is_file():
        return load_supernet(file)
    bar = tqdm(total=epochs, desc="supernet")
    trained = train_supernet("microvit-32", epochs=epochs, on_epoch=lambda row: bar.update())
    from vintk_kit.training.supernet import save_supernet

    save_supernet(trained, file)
    return trained


def scratch(chosen: list, epochs: int) -> pd.DataFrame:
    """From-scratch accuracies, appended to a file as they come."""
    file = HERE / "scratch.csv"
    rows = pd.read_csv(file).to_dict("records") if file.is_file() else []
    known = {row["key"] for row in rows}
    for arch in tqdm(chosen, desc="from scratch"):
        if arch.key not in known:
            accuracy, seconds = train_quick("microvit-32", arch, epochs=epochs)
            rows.append({"key": arch.key, "accuracy": accuracy, "seconds": seconds})
            pd.DataFrame(rows).to_csv(file, index=False)
    return pd.DataFrame(rows)


def scores(chosen: list) -> pd.DataFrame:
    """ViNTK and NTK of the untrained networks."""
    from vintk_kit.scoring import score, wide

    rows = list(score("microvit-32", chosen, "vintk,ntk", data="photopatch", seeds=(0, 1, 2)))
    return wide(pd.DataFrame(rows))[["key", "vintk", "ntk"]]


def main() -> None:
    """Writes results.csv (one row per architecture) and tau.csv (Kendall's tau-b of each pair)."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=24)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--supernet-epochs", type=int, default=3)
    options.add_argument("--max-params", type=float, default=300_000)
    given = options.parse_args()
    chosen = architectures(given.count, given.max_params)
    table = one_shot("microvit-32", supernet(given.supernet_epochs), chosen, limit=1000)
    table = table.merge(scratch(chosen, given.epochs), on="key").merge(scores(chosen), on="key")
    table.to_csv(HERE / "results.csv", index=False)
    rows = []
    for a, b in itertools.combinations(COLUMNS, 2):
        tau = kendalltau(table[a], table[b], nan_policy="omit")
        rows.append({"a": a, "b": b, "tau": tau.statistic, "p": tau.pvalue, "n": len(table)})
    pd.DataFrame(rows).to_csv(HERE / "tau.csv", index=False)


if __name__ == "__main__":
    main()
