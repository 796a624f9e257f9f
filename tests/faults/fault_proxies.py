"""A plug-in (VINTK_PLUGINS) with proxies that misbehave on purpose; imported by drivers and workers of the tests.

`steady` is a cheap score that depends on nothing but the architecture. `faulty` is the same but for some architectures:
`kind` says what happens, `every` how rare it is. Each evaluation is noted in the file FAULT_LOG.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

from vintk_kit.proxies import PROXIES, Proxy


def number(architecture) -> int:
    return int(architecture.key[-6:], 16)


def note(architecture) -> None:
    if path := os.environ.get("FAULT_LOG"):
        with open(path, "a") as file:
            file.write(architecture.key + "\n")


def once(architecture) -> bool:
    """True the first time it is asked for an architecture, over all processes."""
    try:
        os.close(os.open(Path(os.environ["FAULT_MARKS"]) / architecture.key, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def steady(candidate, sleep: float = 0.0) -> float:
    note(candidate.architecture)
    time.sleep(sleep)
    return number(candidate.architecture) / 2**24


def faulty(candidate, kind: str = "raise", every: int = 5) -> float:
    if number(candidate.architecture) % every == 0:
        misbehave(candidate, kind)
        if kind == "nan":
            return float("nan")
    return steady(candidate)


def misbehave(candidate, kind: str) -> None:
    if kind == "raise":
        raise RuntimeError("deliberate failure")
    if kind == "memory":
        torch.empty(2**55)
    if kind == "hang":
        time.sleep(3600)
    if kind == "die" or (kind == "die-once" and once(candidate.architecture)):
        os.kill(os.getpid(), signal.SIGKILL)


for name, function, options in (
    ("steady", steady, {"sleep": 0.0}),
    ("faulty", faulty, {"kind": "raise", "every": 5}),
):
    PROXIES.setdefault(
        name,
        Proxy(
            name=name,
            family="test",
            function=function,
            sign=1,
            needs=frozenset(),
            cost=0.0,
            source="test",
            options=options,
        ),
    )
