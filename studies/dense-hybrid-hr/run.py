"""Do training-free scores rank hybrid-hr networks as brief training on Blue Marble Biomes does?

Run:  OMP_NUM_THREADS=1 python studies/dense-hybrid-hr/run.py        (resumable; results.csv lies beside this file)
      python studies/dense-hybrid-hr/run.py --report                 (only the table of rank correlations)

Architectures are random ones of 1 to 4 million parameters. Each is trained for one epoch of 64-pixel crops per seed;
mIoU is measured on 63 test tiles of 128 pixels. Proxies see 16 training crops and shared initial weights of 3 seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from tqdm import tqdm

from vintk_kit.manifest import environment, write_json
from vintk_kit.scoring import score, wide
from vintk_kit.segmentation import dense_probe, train_dense
from vintk_kit.spaces import Architecture, get_space

HERE = Path(__file__).resolve().parent
FILE = HERE / "results.csv"
HEADER = "# OMP_NUM_THREADS=1 python studies/dense-hybrid-hr/run.py\n"
PROXIES = ("vintk", "ntk", "ntk-trace", "snip", "synflow", "naswot", "zico", "grad-norm")
WINDOW = (1.0e6, 4.0e6)
SIZES = ("params", "macs")


def architectures(count: int) -> list[Architecture]:
    """The first random architectures inside the window of parameters."""
    space, rng, found = get_space("hybrid-hr"), np.random.default_rng([2026, 9]), []
    while len(found) < count:
        arch = space.sample(rng)
        if WINDOW[0] <= space.params(arch) <= WINDOW[1]:
            found.append(arch)
    return found


def load() -> pd.DataFrame:
    return pd.read_csv(FILE, comment="#") if FILE.is_file() else pd.DataFrame(columns=["key", "seed"])


def save(frame: pd.DataFrame) -> None:
    temporary = FILE.with_suffix(".partial")
    temporary.write_text(HEADER + frame.to_csv(index=False, float_format="%.8g"))
    temporary.replace(FILE)


def scored(archs: list[Architecture]) -> pd.DataFrame:
    """Params, MACs at 64 pixels and mean scores, one row per architecture."""
    rows = list(
        score("hybrid-hr", tqdm(archs, desc="scores"), PROXIES, data=dense_probe("bluemarble"), seeds=(0, 1, 2))
    )
    return wide(pd.DataFrame(rows)).set_index("key")


def trained(arch: Architecture, seed: int) -> dict[str, float]:
    """One brief training; nothing is held out, so that the last epoch is measured."""
    result = train_dense("hybrid-hr", arch, preset="smoke", epochs=1, eval_images=63, val_fraction=0.0, seed=seed)
    last, seconds = result.test["last"], result.history["seconds"].sum()
    return {"miou": last["miou"], "pixel_accuracy": last["accuracy"], "seconds": seconds}


def run(count: int, seeds: int) -> None:
    """Trains what is missing, seed by seed, and keeps each row at once."""
    archs, frame = architectures(count), load()
    done = set(zip(frame["key"], frame["seed"], strict=True))
    todo = [(arch, seed) for seed in range(seeds) for arch in archs if (arch.key, seed) not in done]
    if not todo:
        return
    scores = scored(archs).drop(columns="space")
    for arch, seed in tqdm(todo, desc="trainings"):
        row = {"key": arch.key, "seed": seed} | trained(arch, seed) | scores.loc[arch.key].to_dict()
        frame = pd.concat([frame, pd.DataFrame([row])], ignore_index=True) if len(frame) else pd.DataFrame([row])
        save(frame)


def report(frame: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Kendall's tau-b of each score with the mean mIoU over seeds, its 95 % bootstrap interval over architectures.

    `given_params` is the partial tau with the number of parameters held fixed.
    """
    table = frame.groupby("key", sort=False).agg(
        {"miou": "mean"} | {name: "first" for name in (*SIZES, *PROXIES) if name in frame}
    )
    target, rng, rows = table["miou"].to_numpy(), np.random.default_rng(0), []
    picks = rng.integers(len(table), size=(resamples, len(table)))
    size = tau(table["params"].to_numpy(), target)
    for name in table.columns.drop("miou"):
        values = table[name].to_numpy(float)
        draws = [tau(values[pick], target[pick]) for pick in picks]
        low, high = np.nanquantile(draws, [0.025, 0.975])
        own, shared = tau(values, target), tau(values, table["params"].to_numpy())
        partial = (own - size * shared) / np.sqrt((1 - size**2) * (1 - shared**2)) if name != "params" else np.nan
        rows.append({"score": name, "tau": own, "low": low, "high": high, "given_params": partial})
    return pd.DataFrame(rows)


def tau(a: np.ndarray, b: np.ndarray) -> float:
    return float(kendalltau(a, b).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    if not options.report:
        run(options.count, options.seeds)
    frame = load()
    seeds = frame.pivot_table(index="key", columns="seed", values="miou").dropna()
    if seeds.shape[1] > 1:
        print(f"two trainings of one architecture agree with tau {tau(seeds[0], seeds[1]):.2f} (n={len(seeds)})")
    print(f"mIoU {frame['miou'].min():.3f} to {frame['miou'].max():.3f}, {frame['key'].nunique()} architectures")
    table = report(frame).round(3)
    table.to_csv(HERE / "tau.csv", index=False)
    facts = {**environment(), "command": HEADER.strip("# \n"), "training_seconds": round(frame["seconds"].sum())}
    write_json(HERE / "study.json", facts)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
