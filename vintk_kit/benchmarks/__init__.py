"""Benchmarks: architectures with trained accuracy, public ones, our own, and the user's."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from vintk_kit.benchmarks.base import Benchmark, Entry, make_frame
from vintk_kit.benchmarks.fetch import cache_folder, fetch, missing
from vintk_kit.benchmarks.files import csv_reader, read_frame, read_ood_vit_nas, read_own, read_vit_bench_101
from vintk_kit.errors import DataMissingError, InputError, one_of

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Entry",
    "benchmark_table",
    "fetch",
    "get_benchmark",
    "own_benchmark",
]

_HERE = Path(__file__).parent
_OOD = "https://raw.githubusercontent.com/vovantuan1999a/OoD-ViT-NAS/main/architecture_infors/"
_AUTOPROX = "https://raw.githubusercontent.com/lliai/Auto-Prox-AAAI24/main/gt_results/"


def _autoformer(size: str, digest: str, noise: str) -> Entry:
    file = f"1k_Vit_Architecture_from_AutoFM_{size}.json"
    return Entry(
        f"autoformer-{size}-imagenet", f"autoformer-{size}", read_ood_vit_nas, file, _OOD + file, digest,
        "imagenet_top1", 1000, ("embed_dim", "depth"),
        {
            "data": "ImageNet-1k", "protocol": "weights inherited from the trained AutoFormer supernet",
            "source": "github vovantuan1999a/OoD-ViT-NAS, architecture_infors", "noise": noise,
            "defects": "Tiny holds hardly any other width than 192" if size == "tiny" else "none known",
        },
        {"image_size": 112, "batch_size": 16},
    )  # fmt: skip


def _bench_101(name: str, space: str, file: str, digest: str, target: str, cell: tuple[str, ...]) -> Entry:
    return Entry(
        name, space, read_vit_bench_101, file, _AUTOPROX + file, digest, target,
        100, cell,
        {
            "data": "CIFAR-100, Flowers-102, Chaoyang at 224 px", "protocol": "from scratch, 300 epochs; _kd distilled",
            "source": "github lliai/Auto-Prox-AAAI24, gt_results",
            "noise": "plain AutoFormer labels are as small as their noise; distilled CIFAR-100 and Flowers are usable",
            "defects": "imagenet_super_acc is misaligned and left out",
        },
        {"image_size": 112, "batch_size": 16},
    )  # fmt: skip


_NB201 = Entry(
    "nasbench201", "nasbench201",
    csv_reader("nasbench201", {"arch_str": "arch_str"},
               {"cifar10_test_200": "cifar10", "cifar100_test_200": "cifar100", "in16_test_200": "imagenet16"}),
    "nasbench201.csv", None, "", "cifar10", 10, (),
    {
        "data": "CIFAR-10, CIFAR-100, ImageNet16-120", "protocol": "200 epochs from scratch",
        "source": "NAS-Bench-201 / NATS-Bench exported as a CSV with columns arch_str, cifar10_test_200, "
        "cifar100_test_200, in16_test_200", "noise": "small against the spread", "defects": "isomorphic cells repeat",
    },
    {"image_size": 32, "batch_size": 32},
)  # fmt: skip


def _read_trainings(path: Path) -> list[dict[str, Any]]:
    frame = read_frame(path, ["architecture", "accuracy"])
    mean = frame.groupby("architecture", sort=False, as_index=False)["accuracy"].mean()
    records = mean.to_dict("records")
    read = partial(_record, path.name)
    return [read(index, row) for index, row in enumerate(records)]


def _record(file: str, index: int, row: dict[str, Any]) -> dict[str, Any]:
    from vintk_kit.spaces import Architecture

    try:
        return {"choices": Architecture.from_json(row["architecture"]), "accuracies": {"accuracy": row["accuracy"]}}
    except InputError as error:
        raise InputError(f"{file}: row {index}: architecture: {error}") from error


def _microvit(data: str) -> Entry:
    """One of our own: trained by `vintk benchmark build`, lies in this folder."""
    file = f"microvit_{data}.csv"
    about = (_HERE / file).with_suffix(".json")
    return Entry(
        f"microvit-{data}", "microvit-32", _read_trainings, file, None, "", "accuracy", 10, ("embed_dim", "depth"),
        json.loads(about.read_text()) if about.exists() else {}, {"image_size": 32},
    )  # fmt: skip


BENCHMARKS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _microvit("photopatch"),
        _microvit("fashion"),
        _autoformer("tiny", "5e07b497", "error 0.19 points, spread 0.26"),
        _autoformer("small", "d70fb308", "error 0.18 points, spread 0.56"),
        _autoformer("base", "b7ab49e1", "error 0.17 points, spread 0.09: any positive tau is informative"),
        _bench_101("vit-bench-101-autoformer", "autoformer-tiny-scratch", "gt_autoformer.pth", "712ad277", "c100_kd",
                   ("embed_dim", "depth")),
        _bench_101("vit-bench-101-pit", "pit-ti", "gt_pit.pth", "bdda8984", "c100_base", ("base_dim", "mlp_ratio")),
        _NB201,
    )
}  # fmt: skip
"""Every benchmark by name; a new one is an entry here."""

_TIDY = {
    "embed_dim": "embed_dim", "depth": "depth", "num_heads": "num_heads", "mlp_ratio": "mlp_ratio",
}  # fmt: skip


def get_benchmark(name: str | Benchmark, path: str | Path | None = None) -> Benchmark:
    """Loads a benchmark.

    Args:
        name: A name of `BENCHMARKS`, or a loaded benchmark.
        path: Its file; by default the one that ships with the package or lies in the cache. A `.csv` with a column per
            choice and the benchmark's accuracies is read as well as the official format.

    Raises:
        InputError: For an unknown name, or a damaged file (row and field are named).
        DataMissingError: If the file is absent; the message says how to get it.
    """
    if isinstance(name, Benchmark):
        return name
    entry = BENCHMARKS[one_of("benchmark", name, BENCHMARKS)]
    file = _find(entry, None if path is None else Path(path))
    official = file.suffix == Path(entry.file).suffix
    records = entry.read(file) if official else _read_tidy(entry, file)
    frame, accuracies = make_frame(records, entry.space, entry.cell, entry.num_classes, file.name)
    target = entry.target if entry.target in accuracies else accuracies[0]
    return Benchmark(
        name, entry.space, frame, accuracies, target, entry.num_classes, dict(entry.metadata), dict(entry.scoring)
    )


def _find(entry: Entry, path: Path | None) -> Path:
    if path is not None:
        if not path.is_file():
            raise DataMissingError(f"benchmark {entry.name}: got {str(path)!r}; allowed: an existing file")
        return path
    for candidate in (_HERE / entry.file, cache_folder() / entry.file):
        if candidate.is_file():
            return candidate
    if entry.url:
        raise DataMissingError(f"{missing(entry)}; or download it: vintk benchmark get {entry.name}")
    raise missing(entry)


def _read_tidy(entry: Entry, file: Path) -> list[dict[str, Any]]:
    frame = read_frame(file, [])
    names = ("base_dim", "mlp_ratio", "depth", "num_heads") if entry.space.startswith("pit") else tuple(_TIDY)
    accuracies = {
        name: name.removesuffix("_acc").replace("_supernet", "")
        for name in frame.columns
        if "top1" in name or name.endswith("_acc")
    }
    if not accuracies:
        raise InputError(f"{file.name}: got no accuracy column; allowed: names with top1 or ending in _acc")
    return csv_reader(entry.space, {name: name for name in names}, accuracies)(file)


def own_benchmark(
    path: str | Path, space: str, *, target: str | None = None, num_classes: int | None = None
) -> Benchmark:
    """A benchmark of the user's own: a CSV with a column `architecture` and accuracies in per cent.

    Args:
        path: The file.
        space: Search space of the architectures.
        target: Accuracy column; by default `accuracy`, or the only numeric one.
        num_classes: Classes of the head; by default the space's.

    Raises:
        InputError: Naming row and field of what is wrong.
        DataMissingError: If the file is absent.
    """
    from vintk_kit.spaces import get_space

    file = Path(path)
    if not file.is_file():
        raise DataMissingError(f"benchmark: got {str(file)!r}; allowed: an existing CSV file")
    records, chosen = read_own(file, space, target)
    classes = num_classes or get_space(space).num_classes
    frame, accuracies = make_frame(records, space, (), classes, file.name)
    return Benchmark(file.stem, space, frame, accuracies, chosen, classes, {"source": file.name})


def benchmark_table() -> pd.DataFrame:
    """One row per benchmark: name, space, target, data, whether its file is here."""
    rows = []
    for entry in BENCHMARKS.values():
        here = any((folder / entry.file).is_file() for folder in (_HERE, cache_folder()))
        rows.append({"name": entry.name, "space": entry.space, "target": entry.target,
                     "data": entry.metadata.get("data", ""), "here": "yes" if here else "no"})  # fmt: skip
    return pd.DataFrame(rows)
