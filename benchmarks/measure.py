"""Time and memory of several methods, taken side by side."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

Method = Callable[[], object]


def interleaved(methods: dict[str, Method], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Runs each method once per round, by default after one that does not count; returns seconds by method.

    Each round begins with another method: what ran before leaves caches and memory in its own state.
    """
    for method in methods.values() if warm else ():
        method()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    names = list(methods)
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            methods[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str = "fb") -> float:
    """Returns the median over rounds of a method's time divided by the base's of the same round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))


def resident() -> int:
    """Returns this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory(method: Method) -> float:
    """Returns the highest resident memory during a call above that before it, in MB."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return float("nan")
    before, highest, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        method()
    finally:
        done.set()
        watcher.join()
    return max(0, highest - before) / 1e6


def flops(method: Method) -> float:
    """Returns the floating-point operations of a call's matrix products and convolutions."""

    def into_buffer(a: torch.Size, b: torch.Size, **_: object) -> int:
        return 2 * a[0] * a[1] * a[2] * b[2]

    def convolution(grad: torch.Size, x: torch.Size, weight: torch.Size, *others: object, **_: object) -> int:
        # torch's own count takes all pairs of groups.
        return 2 * x[0] * math.prod(grad[2:]) * math.prod(weight) * sum(others[7][:2])

    counts = {torch.ops.aten.bmm.out: into_buffer, torch.ops.aten.convolution_backward: convolution}
    with FlopCounterMode(display=False, custom_mapping=counts) as counter:
        method()
    return float(counter.get_total_flops())


def matmul_speed() -> float:
    """Returns the speed of a large float32 matrix product, in GFLOP/s."""
    a = torch.randn(1536, 1536)
    best = min(interleaved({"mm": lambda: a @ a}, 4)["mm"])
    return 2 * 1536**3 / best / 1e9


def machine() -> str:
    """Returns one line that says where the figures were taken."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{model} ({torch.backends.cpu.get_cpu_capability()}), {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"matrix product {matmul_speed():.0f} GFLOP/s, load {load}"
    )
