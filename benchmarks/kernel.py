"""The cost of the tangent kernel beside one forward and backward pass: `make bench`.

All methods of a case take turns, figures are medians over rounds. Writes results.csv and machine.txt beside itself.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import FULL, QUICK, Case  # noqa: E402
from measure import flops, interleaved, machine, matmul_speed, peak_memory, ratio  # noqa: E402

from vintk_kit.ntk import TangentKernel, loop_kernel, onednn, tangent_kernel  # noqa: E402
from vintk_kit.ntk.gram import Gram  # noqa: E402
from vintk_kit.spaces import get_space  # noqa: E402


def forward_backward(network: nn.Module, images: Tensor) -> None:
    """One plain training step's forward and backward."""
    network.zero_grad(set_to_none=True)
    network(images).sum().backward()


def vmap_kernel(network: nn.Module, images: Tensor, chunk: int = 8) -> Tensor:
    """The same kernel by `torch.func`: vmap of grad over the weights, then a product."""
    weights = {name: p.detach() for name, p in network.named_parameters() if "weight" in name}
    others = {name: p.detach() for name, p in network.named_parameters() if "weight" not in name}
    others |= dict(network.named_buffers())

    def scalar(chosen: dict, image: Tensor) -> Tensor:
        return torch.func.functional_call(network, {**chosen, **others}, (image[None],)).sum()

    gradient = torch.func.vmap(torch.func.grad(scalar), in_dims=(None, 0), chunk_size=chunk)
    rows = gradient(weights, images)
    return sum((g.flatten(1).double() @ g.flatten(1).double().T for g in rows.values()), torch.zeros(()).double())


SPARE = 2.0
"""Seconds of a round below which rounds are short: they vary most, and more of them are made."""


def fb_onednn(network: nn.Module, images: Tensor) -> None:
    """The same step with the kernel's matrix products: what of the kernel's speed is theirs."""
    with onednn.float32_products():
        forward_backward(network, images)


def methods_of(network: nn.Module, images: Tensor) -> tuple[dict[str, Callable], dict[str, Callable]]:
    """The methods that every case measures, and those that it measures less often."""
    fb, fast = (lambda: forward_backward(network, images)), {"precision": "fast"}
    often = {
        "fb": fb,
        "kernel": lambda: tangent_kernel(network, images, **fast),
        "sketch": lambda: tangent_kernel(network, images, sketch=64, **fast),
    }
    seldom = {"all": lambda: tangent_kernel(network, images, params="all", **fast)}
    if onednn.is_useful():
        seldom["fb onednn"] = lambda: fb_onednn(network, images)
    return often, seldom


def measure(case: Case, rounds: int) -> dict:
    """Returns one row of the table. What is measured once comes first, and warms up what is timed.

    Short methods get further rounds, long ones as many as asked for; some figures come from the first rounds alone.
    """
    network, images = case.build()
    methods, seldom = methods_of(network, images)
    share, exact = gram_share(network, images)
    error = abs(methods["sketch"]().condition_number() / exact.condition_number() - 1)
    others = interleaved(methods | seldom, 1, warm=False)
    round_time = sum(others[name][0] for name in methods)
    short = round_time < SPARE
    for name, extra in interleaved(methods | seldom, 2 * short, warm=False).items():
        others[name] += extra
    seconds = {name: list(others[name]) for name in methods}
    more = rounds - 1 + min(12, int(SPARE / round_time)) - 2 * short
    for name, extra in interleaved(methods, max(0, more), warm=False).items():
        seconds[name] += extra
    peaks = {name: typical_peak(network, methods[name], 1 + 4 * short) for name in ("kernel", "fb")}
    row = {"network": case.name, "pixels": case.image_size, "N": case.samples, "fb ms": 1e3 * min(seconds["fb"])}
    row |= {name: ratio(seconds, name) for name in ("kernel", "sketch")}
    row |= {name: ratio(others, name) for name in seldom}
    row |= {"fb MB": peaks["fb"], "kernel MB": peaks["kernel"], "memory": peaks["kernel"] / max(peaks["fb"], 1)}
    row["fraction"] = flops(methods["kernel"]) / min(seconds["kernel"]) / 1e9 / matmul_speed()
    row["N2 share"] = share
    row["build"] = min(interleaved({"build": case.builder()}, 5)["build"]) / min(seconds["kernel"])
    row["error"] = error
    if case.slow:
        row |= loop_method(network, images, seconds)
    if case.vmap:
        row["vmap x"] = vmap_method(network, images, seconds)
    row |= {"target": case.target, "met": case.target is None or row["kernel"] <= case.target}
    row |= {"sketch target": case.sketch_target, "sketch met": row["sketch"] <= case.sketch_target}
    return row | {"memory met": row["memory"] <= 1.15}


def typical_peak(network: nn.Module, method: Callable[[], object], times: int) -> float:
    """Median peak memory in MB; gradients of the call before are given back first, or they would hide new ones."""
    peaks = []
    for _ in range(times):
        network.zero_grad(set_to_none=True)
        peaks.append(peak_memory(method))
    return statistics.median(peaks)


def gram_share(network: nn.Module, images: Tensor) -> tuple[float, TangentKernel]:
    """Share of the kernel's time that goes into products of gradients with gradients, which grows with N²."""
    spent, plain = 0.0, {name: getattr(Gram, name) for name in ("_gram", "_ghost")}

    def timed(name: str) -> Callable:
        def call(*given: object, **named: object) -> Tensor:
            nonlocal spent
            start = time.perf_counter()
            result = plain[name](*given, **named)
            spent += time.perf_counter() - start
            return result

        return call

    tangent_kernel(network, images[:2], precision="fast")
    try:
        for name in plain:
            setattr(Gram, name, timed(name))
        start = time.perf_counter()
        kernel = tangent_kernel(network, images, precision="fast")
        return spent / (time.perf_counter() - start), kernel
    finally:
        for name, function in plain.items():
            setattr(Gram, name, function)


def rank_agreement(name: str, patch_size: int | None = None, count: int = 16) -> str:
    """How the sketched condition number of some architectures of one space ranks them, and how far it is off."""
    space, random = get_space(name), np.random.default_rng(0)
    space.patch_size = patch_size or space.patch_size
    options = {"image_size": 32, "num_classes": 10}
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    supernet = space.supernet(0, **options)
    pairs = []
    for _ in range(count):
        network = space.build(space.sample(random), weights=supernet, seed=0, **options)
        pairs.append([tangent_kernel(network, images, sketch=r).condition_number() for r in (None, 64)])
    exact, sketched = np.array(pairs).T
    errors = np.abs(sketched / exact - 1)
    return (
        f"sketch r = 64, {count} networks of {name}: rank agreement of the condition number tau "
        f"{kendalltau(exact, sketched).statistic:.2f}, error {np.median(errors):.1%}, at most {errors.max():.1%}"
    )


def loop_method(network: nn.Module, images: Tensor, seconds: dict[str, list[float]]) -> dict:
    """How many times slower the loop over samples is than the kernel's median, and what memory it needs."""
    start = time.perf_counter()
    peak = peak_memory(lambda: loop_kernel(network, images, dtype=torch.float32))
    return {"loop x": (time.perf_counter() - start) / statistics.median(seconds["kernel"]), "loop MB": peak}


def vmap_method(network: nn.Module, images: Tensor, seconds: dict[str, list[float]]) -> float:
    """How many times slower `torch.func` is than the kernel's median."""
    taken = interleaved({"vmap": lambda: vmap_kernel(network, images)}, 1, warm=False)["vmap"][0]
    return taken / statistics.median(seconds["kernel"])


WORKER = """
import sys, time, torch
sys.path.insert(0, {here!r})
torch.set_num_threads({threads})
from cases import QUICK
from vintk_kit.ntk import tangent_kernel
network, images = QUICK[0].build()
tangent_kernel(network, images)
print("ready", flush=True)
sys.stdin.readline()
end, done = time.perf_counter() + {seconds}, 0
while time.perf_counter() < end:
    tangent_kernel(network, images)
    done += 1
print(done / {seconds}, flush=True)
"""


def throughput(processes: int, threads: int, seconds: float) -> float:
    """Kernels per second of some processes with some threads each; they start to count together."""
    code = WORKER.format(here=str(HERE), threads=threads, seconds=seconds)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(processes)]
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return sum(float(worker.communicate()[0]) for worker in workers)


def report(table: pd.DataFrame) -> str:
    """The table as text, and the targets that are met and missed."""
    shown = table.drop(columns=["target", "met", "sketch target", "sketch met", "memory met"])
    lines = [shown.to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="-"), ""]
    for row in table.to_dict("records"):
        where = f"{row['network']}, {row['pixels']} px, N = {row['N']}"
        checks = [("kernel", row["kernel"], row["target"]), ("sketch", row["sketch"], row["sketch target"])]
        for what, value, target in [*checks, ("memory", row["memory"], 1.15), ("build", row["build"], 0.03)]:
            if pd.notna(target):
                verdict = "met" if value <= target else "MISSED"
                lines.append(f"{verdict:6s} {what:7s} {value:.2f} (target {target:.2f})  {where}")
        if pd.notna(row.get("loop x")):
            verdict = "met" if row["loop x"] >= 18 else "MISSED"
            lines.append(f"{verdict:6s} loop    {row['loop x']:.1f} x slower (target 18)  {where}")
        if pd.notna(row.get("vmap x")):
            verdict = "met" if row["vmap x"] > 1 else "MISSED"
            lines.append(f"{verdict:6s} vmap    {row['vmap x']:.1f} x slower (target 1)  {where}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more sizes and more rounds")
    parser.add_argument("--rounds", type=int, default=None, help="rounds per case (3; 9 with --full)")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the cases to measure")
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice by default")
    parser.add_argument("--no-throughput", action="store_true", help="leave out the comparison of processes")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.csv and machine.txt")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    start, where = time.perf_counter(), machine()
    print(where, flush=True)
    cases = FULL if options.full else QUICK
    rows = []
    for index, case in enumerate(cases):
        if options.only is None or index in options.only:
            rows.append(measure(case, options.rounds or (9 if options.full else 3)))
            print(f"  {time.perf_counter() - start:4.0f} s  {case.name}, {case.image_size} px", flush=True)
    table = pd.DataFrame(rows)
    lines = [where]
    if not options.no_throughput:
        two, one = throughput(2, 1, 6), throughput(1, 2, 6)
        lines.append(
            f"kernels per second, {cases[0].name}: 2 processes x 1 thread {two:.2f}, 1 process x 2 threads {one:.2f}"
        )
    lines += [rank_agreement("microvit-32"), rank_agreement("autoformer-tiny", patch_size=8)]
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "results.csv", index=False)
    (options.out / "machine.txt").write_text("\n".join(lines) + "\n")
    print("\n".join([report(table), *lines[1:], f"{time.perf_counter() - start:.0f} s"]))


if __name__ == "__main__":
    main()
