"""The rule of studies/README.md that chooses the default ViNTK: 480 settings on development rows.

    python studies/choice/run.py score --benchmarks FOLDER     # statistics of every setting, resumable, an hour
    python studies/choice/run.py judge --benchmarks FOLDER     # stage 1; writes settings.csv and choice.json here
    python studies/choice/run.py confirm --benchmarks FOLDER   # stage 2, on rows stage 1 did not see; confirmed.json

The statistics are kept in runs/choice/NAME.csv, a row per architecture. Nothing is fitted to them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from vintk_kit.benchmarks import Benchmark, get_benchmark
from vintk_kit.correlation import chosen
from vintk_kit.correlation.statistics import Interval, pair_signs, partial, resample_counts, taus
from vintk_kit.data import probe_batch
from vintk_kit.fourier import FourierFeatures
from vintk_kit.manifest import environment
from vintk_kit.ntk import tangent_kernel
from vintk_kit.spaces import Architecture, get_space
from vintk_kit.spectrum import STATISTICS, statistic
from vintk_kit.studies.runner import FILES

HERE = Path(__file__).resolve().parent
SIZES = {
    "autoformer-tiny-imagenet": 60,
    "autoformer-small-imagenet": 40,
    "vit-bench-101-pit": 50,
    "microvit-photopatch": 150,
}
REPORTED = {"autoformer-base-imagenet": 30}
"""Left out of the choice (its labels spread less than their error), reported beside it."""
FRESH = {"autoformer-tiny-imagenet": 180, "autoformer-small-imagenet": 140}
"""Stage 2 takes the places after those of stage 1 up to these; PiT and microvit have no further rows."""
GROUPS = {
    "all": None,
    "attention": ("attention",),
    "mlp": ("mlp",),
    "attention+mlp": ("attention", "mlp"),
}
NAMES = (
    "condition_number", "centred_condition_number", "log_det", "min_eigenvalue", "max_eigenvalue", "trace",
    "effective_rank", "mean_alignment",
)  # fmt: skip
FORMS = ("total", "block-sum", "block-mean")
INCUMBENT = "joint/all/total/max_eigenvalue"
CHALLENGER = "joint/all/block-sum/nuclear_norm"
"""Of stage 2: a statistic that stage 1 did not have, found on its rows."""

Parts = dict[tuple[str, int | None], torch.Tensor]


def kernels(network: torch.nn.Module, images: torch.Tensor) -> dict[str, Parts]:
    """The five kernels of the rule, from one pass over 2 N images and one over N."""
    low, high = FourierFeatures("bandpass", low=2.0), FourierFeatures("highpass", low=8.0)
    joint, n = tangent_kernel(network, torch.cat([images, low(images)])).parts, len(images)
    return {
        "plain": {k: v[:n, :n] for k, v in joint.items()},
        "bandpass": {k: v[n:, n:] for k, v in joint.items()},
        "sum": {k: v[:n, :n] + v[n:, n:] for k, v in joint.items()},
        "joint": joint,
        "highpass": tangent_kernel(network, high(images)).parts,
    }


def scores(network: torch.nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Every setting's score of one network; larger is taken to be better."""
    found = {}
    for (kernel, parts), (group, names) in itertools.product(kernels(network, images).items(), GROUPS.items()):
        used = {k: v for k, v in parts.items() if names is None or k[0] in names}
        if not used:
            continue
        blocks: dict[int, torch.Tensor] = {}
        for (_, block), value in used.items():
            if block is not None:
                blocks[block] = blocks.get(block, 0) + value
        for name in (*NAMES, "nuclear_norm"):
            _, sign = STATISTICS[name]
            each = [statistic(value, name) for value in blocks.values()]
            values = (statistic(sum(used.values()), name), sum(each), sum(each) / max(len(each), 1))
            for form, value in zip(FORMS, values, strict=True):
                if form == "total" or each:
                    found[f"{kernel}/{group}/{form}/{name}"] = sign * value
    return found


def load(name: str, folder: Path | None) -> Benchmark:
    path = folder / FILES[name] if folder and name in FILES else None
    return get_benchmark(name, path if path and path.exists() else None)


def score(name: str, folder: Path | None, store: Path) -> None:
    """Scores a benchmark's architectures that are not in its file yet."""
    benchmark, file = load(name, folder), store / f"{name}.csv"
    size, batch = (32, 32) if benchmark.space == "microvit-32" else (112, 16)
    images = probe_batch("photopatch", n=batch, image_size=size).images
    space, options = get_space(benchmark.space), {"num_classes": benchmark.num_classes, "image_size": size}
    supernet = space.supernet(0, **options)
    known = set(pd.read_csv(file, usecols=["key"])["key"]) if file.exists() else set()
    count = {**SIZES, **FRESH, **REPORTED}[name]
    for row in tqdm(chosen(benchmark, count, 0).to_dict("records"), desc=name):
        if row["key"] in known:
            continue
        network = space.build(Architecture.from_json(row["architecture"]), weights=supernet, seed=0, **options)
        line = pd.DataFrame([{"key": row["key"], **scores(network, images)}])
        store.mkdir(parents=True, exist_ok=True)
        line.to_csv(file, mode="a", index=False, header=not file.exists())


def rows(
    name: str, folder: Path | None, store: Path, first: int, last: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Scores, accuracy and parameters of the places from `first` to before `last` of the rule's random order."""
    benchmark = load(name, folder)
    order = chosen(benchmark, last, 0).iloc[first:].reset_index(drop=True)
    table = order[["key"]].merge(pd.read_csv(store / f"{name}.csv"), on="key", how="left", validate="1:1")
    return table.drop(columns="key"), order[benchmark.target].to_numpy(float), order["params"].to_numpy(float)


def both(x: np.ndarray, y: np.ndarray, z: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """tau and the partial tau given z, for each resample."""
    x, y, z = (pair_signs(values) for values in (x, y, z))
    tau = taus(x, y, counts)
    return tau, partial(tau, taus(x, z, counts), taus(y, z, counts))


def objective(data: dict, setting: str, half: int | None, resamples: int) -> np.ndarray:
    """The rule's objective on the even (0) or odd (1) places, or on all rows; a failing setting counts 0."""
    total = 0.0
    for place, (table, y, z) in enumerate(data.values()):
        index = np.arange(len(y)) if half is None else np.arange(half, len(y), 2)
        x = table[setting].to_numpy(float)[index] if setting in table else np.full(len(index), np.nan)
        if np.isfinite(x).all():
            tau, given = both(x, y[index], z[index], resample_counts(len(index), resamples, place))
            total = total + (tau + (np.nan_to_num(given) if not resamples else given)) / 2 / len(data)
    return np.atleast_1d(total)


def judge(folder: Path | None, store: Path) -> None:
    """Applies the rule and writes what it found."""
    data = {name: rows(name, folder, store, 0, size) for name, size in SIZES.items()}
    settings = sorted(set().union(*(table.columns for table, _, _ in data.values())))
    settings = [setting for setting in settings if setting.rpartition("/")[2] in NAMES]
    table = pd.DataFrame({"setting": settings})
    for label, half in (("selecting", 0), ("confirming", 1), ("all", None)):
        table[label] = [float(objective(data, setting, half, 0)[0]) for setting in tqdm(settings, desc=label)]
    for name, (scored, y, z) in data.items():
        pairs = [
            both(scored[s].to_numpy(float), y, z, resample_counts(len(y), 0, 0)) if s in scored else None
            for s in settings
        ]
        table[f"{name} tau"] = [np.nan if p is None else float(p[0][0]) for p in pairs]
        table[f"{name} partial"] = [np.nan if p is None else float(p[1][0]) for p in pairs]
    table = table.sort_values("selecting", ascending=False)
    best = table["setting"].iloc[0]
    record = {**environment(), "command": "python studies/choice/run.py judge", "incumbent": INCUMBENT, "best": best}
    for label, half in (("confirming", 1), ("all", None)):
        first, second = (objective(data, setting, half, 2000) for setting in (best, INCUMBENT))
        record[f"difference on {label} rows"] = as_list(first - second)
    record["replaced"] = record["difference on confirming rows"][1] > 0
    table.round(4).to_csv(HERE / "settings.csv", index=False)
    (HERE / "choice.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table.head(12).round(2).to_string(index=False))
    print(json.dumps({k: record[k] for k in record if k.startswith("diff") or k in ("best", "replaced")}, indent=1))


def confirm(folder: Path | None, store: Path) -> None:
    """Stage 2: the challenger against the incumbent and the plain kernel on rows that stage 1 did not see."""
    data = {name: rows(name, folder, store, SIZES[name], last) for name, last in FRESH.items()}
    record: dict = {**environment(), "command": "python studies/choice/run.py confirm", "challenger": CHALLENGER}
    settings = (CHALLENGER, INCUMBENT, "plain/all/total/condition_number")
    found = {setting: objective(data, setting, None, 2000) for setting in settings}
    for setting in settings[1:]:
        record[f"objective over {setting}"] = as_list(found[CHALLENGER] - found[setting])
    record["replaced"] = record[f"objective over {INCUMBENT}"][1] > 0
    others = {name: rows(name, folder, store, 0, last) for name, last in REPORTED.items()}
    for name, (table, y, z) in (data | others).items():
        counts = resample_counts(len(y), 2000, 0)
        record[name] = {"n": len(y), "params": as_list(both(z, y, z, counts)[0])}
        for setting in settings:
            tau, given = both(table[setting].to_numpy(float), y, z, counts)
            record[name][setting] = {"tau": as_list(tau), "partial": as_list(given)}
    (HERE / "confirmed.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def as_list(resampled: np.ndarray) -> list[float]:
    """Value, low and high of a 95 % interval."""
    interval = Interval.of(resampled)
    return [round(value, 3) for value in (interval.value, interval.low, interval.high)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["score", "judge", "confirm"])
    parser.add_argument("--benchmarks", type=Path, default=None, help="folder with tidy benchmark tables")
    parser.add_argument("--only", choices=sorted({**SIZES, **REPORTED}), help="one benchmark of `score`")
    parser.add_argument("--store", type=Path, default=Path("runs/choice"), help="folder of the statistics")
    chosen_options = parser.parse_args()
    if chosen_options.step != "score":
        step = judge if chosen_options.step == "judge" else confirm
        step(chosen_options.benchmarks, chosen_options.store)
        return
    for name in [chosen_options.only] if chosen_options.only else (*SIZES, *REPORTED):
        score(name, chosen_options.benchmarks, chosen_options.store)


if __name__ == "__main__":
    main()
