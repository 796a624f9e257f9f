"""Building a benchmark of one's own: architectures of a small space, trained from scratch."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vintk_kit.errors import InputError, StoreError, bad_value
from vintk_kit.manifest import bind_parameters, read_manifest
from vintk_kit.spaces import Architecture, SearchSpace, get_space

COLUMNS = ("key", "architecture", "params", "macs", "seed", "accuracy", "seconds")


def choose_architectures(
    space: SearchSpace, n: int, *, seed: int = 0, bins: int = 10, max_macs: float | None = None, num_classes: int = 10
) -> list[Architecture]:
    """Draws architectures spread evenly over the logarithm of the parameter count.

    Args:
        space: Search space.
        n: Number of architectures.
        seed: Seed of the draws.
        bins: Parts of equal width in log params; each gives the same number, as far as it has as many.
        max_macs: Cost limit per image, so that a training stays short.
        num_classes: Classes C.

    Returns:
        n distinct architectures in random order.

    Raises:
        InputError: If 100 n draws do not hold n architectures inside the limit.
    """
    rng = np.random.default_rng([seed, 5])
    drawn = dict.fromkeys(space.sample(rng) for _ in range(100 * n))
    pool = [a for a in drawn if max_macs is None or space.macs(a, num_classes=num_classes) <= max_macs]
    if len(pool) < n:
        raise InputError(f"benchmark: got {len(pool)} architectures below {max_macs:.3g} MACs; allowed: at least {n}")
    size = np.log([space.params(a, num_classes=num_classes) for a in pool])
    edges = np.linspace(size.min(), size.max(), bins + 1)[1:-1]
    parts = [[pool[i] for i in np.flatnonzero(np.digitize(size, edges) == part)] for part in range(bins)]
    chosen: list[Architecture] = []
    while len(chosen) < n:  # one of each part in turn, so that short parts only lend their share to the others
        chosen += [part.pop() for part in parts if part][: n - len(chosen)]
    return [chosen[i] for i in rng.permutation(n)]


def build_benchmark(
    folder: Path,
    *,
    space: str = "microvit-32",
    data: str = "photopatch",
    n: int = 150,
    repeated: int = 12,
    epochs: float = 2,
    max_macs: float | None = 9e6,
    seed: int = 0,
    workers: int = 1,
    on_row: Callable[[dict[str, Any], int, int], None] | None = None,
) -> pd.DataFrame:
    """Trains a benchmark; interrupted, it goes on where it ended.

    Every architecture is trained once with seed 0; `repeated` of them, spread over size, also with seeds 1 and 2, from
    which the label noise is known.

    Args:
        folder: Holds trainings.csv and the manifest.
        space: Search space.
        data: Data set.
        n: Architectures.
        repeated: Architectures with three seeds.
        epochs: Passes over the training split; may be a fraction.
        max_macs: Cost limit per image.
        seed: Seed of the choice of architectures.
        workers: Processes of one thread each.
        on_row: Called after each training with its row, the number done and the number in all.

    Returns:
        The trainings: columns `COLUMNS`.

    Raises:
        InputError: If a number is out of range.
        StoreError: If the folder holds a benchmark with other parameters.
    """
    if not 2 <= repeated <= n:
        raise bad_value("repeated", repeated, f"2 to {n}, the number of architectures")
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"space": space, "data": data, "n": n, "repeated": repeated, "epochs": epochs, "max_macs": max_macs,
                  "seed": seed}  # fmt: skip
    bind_parameters(folder, "benchmark", parameters)
    tasks = _tasks(get_space(space), n, repeated, max_macs, seed)
    path = folder / "trainings.csv"
    done = read_trainings(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    known = set(zip(done["key"], done["seed"], strict=True))
    open_tasks = [(arch.to_json(), s) for arch, s in tasks if (arch.key, s) not in known]
    count = len(tasks) - len(open_tasks)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not len(done):
            writer.writeheader()
        for row in _train_all(open_tasks, space, data, epochs, workers):
            writer.writerow(row)
            file.flush()
            count += 1
            if on_row:
                on_row(row, count, len(tasks))
    return read_trainings(path)


def _tasks(
    space: SearchSpace, n: int, repeated: int, max_macs: float | None, seed: int
) -> list[tuple[Architecture, int]]:
    chosen = choose_architectures(space, n, seed=seed, max_macs=max_macs)
    by_size = sorted(chosen, key=space.params)
    again = [by_size[round(i)] for i in np.linspace(0, n - 1, repeated)]
    return [(arch, 0) for arch in chosen] + [(arch, s) for arch in again for s in (1, 2)]


def _train_all(
    tasks: list[tuple[str, int]], space: str, data: str, epochs: float, workers: int
) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = [pool.submit(_train_one, space, text, data, s, epochs) for text, s in tasks]
        for future in as_completed(futures):
            yield future.result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _train_one(space_name: str, text: str, data: str, seed: int, epochs: float) -> dict[str, Any]:
    from vintk_kit.training.quick import train_quick

    space, arch = get_space(space_name), Architecture.from_json(text)
    started = time.perf_counter()
    accuracy, _ = train_quick(space, arch, data, seed, epochs)
    return {
        "key": arch.key, "architecture": text, "params": space.params(arch, num_classes=10),
        "macs": space.macs(arch, num_classes=10), "seed": seed, "accuracy": round(100 * accuracy, 3),
        "seconds": round(time.perf_counter() - started, 2),
    }  # fmt: skip


def read_trainings(path: Path) -> pd.DataFrame:
    """Reads trainings.csv; a last line cut short by a kill is dropped.

    Raises:
        StoreError: If the file is damaged elsewhere.
    """
    lines = path.read_text().splitlines()
    rows = list(csv.reader(lines))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise StoreError(f"{path}: got columns {rows[0] if rows else []}; allowed: {', '.join(COLUMNS)}")
    if len(rows[-1]) != len(COLUMNS) or not lines[-1]:
        rows.pop()
        path.write_text("\n".join(lines[: len(rows)]) + "\n")
    frame = pd.DataFrame(rows[1:], columns=COLUMNS)
    try:
        return frame.astype({"params": int, "macs": int, "seed": int, "accuracy": float, "seconds": float})
    except ValueError as error:
        raise StoreError(f"{path}: {error}") from error


def publish(folder: Path, table: Path) -> dict[str, Any]:
    """Writes a finished benchmark as a small table, and what is known about it beside it (same name, `.json`).

    Args:
        folder: Folder of `build_benchmark`.
        table: CSV to write.

    Returns:
        What went into the JSON: data, protocol, source, noise, defects, seed_noise, command, versions, machine,
        wall time.

    Raises:
        StoreError: If the folder holds no trainings or they are damaged.
    """
    from vintk_kit.correlation.statistics import seed_noise

    manifest = read_manifest(folder)
    made = manifest.get("parameters", {}).get("benchmark")
    if made is None or not (folder / "trainings.csv").exists():
        raise StoreError(f"{folder}: got no benchmark; allowed: a folder of vintk benchmark build")
    rows = read_trainings(folder / "trainings.csv")
    noise = seed_noise(rows["accuracy"].to_numpy(), rows["key"].to_numpy())
    first = rows[rows["seed"] == 0]
    flags = {"n": "architectures"}
    options = " ".join(f"--{flags.get(name, name).replace('_', '-')} {value}" for name, value in made.items())
    about = {
        "data": f"{made['data']}, test split", "protocol": f"from scratch, {made['epochs']:g} epochs of train_quick, "
        f"independent initial weights; {len(first)} architectures, {made['repeated']} with seeds 0, 1, 2",
        "source": f"vintk benchmark build {options}", "command": f"vintk benchmark build {options}",
        "noise": f"one training {noise:.2f} points, spread over architectures {first['accuracy'].std():.2f}",
        "defects": f"short trainings of networks below {made['max_macs']:.3g} MACs; ranks may differ after long ones",
        "seed_noise": round(noise, 4), "seconds": round(float(rows["seconds"].sum())),
        **{name: manifest[name] for name in ("created", "versions", "python", "hardware", "git_revision")},
    }  # fmt: skip
    rows.to_csv(table, index=False)
    table.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")
    return about
