"""A Dask cluster of real processes on loopback: same rows; a killed worker and a killed scheduler lose nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from harness import Runs, children, kill, wait_for
from pandas.testing import assert_frame_equal

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(400)]


def start_scheduler(runs: Runs, name: str) -> tuple[object, str]:
    note = runs.root / f"{name}.json"
    scheduler = runs.start(
        [
            *("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--scheduler-file", str(note)),
        ]
    )

    def address() -> str | None:
        try:
            return json.loads(note.read_text())["address"]
        except (OSError, ValueError, KeyError):
            return None

    return scheduler, wait_for(address, "the scheduler")


def start_worker(runs: Runs, address: str) -> object:
    return runs.start(
        [
            *("distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"),
            *("--local-directory", str(runs.root / "dask")),
        ]
    )


def worker_processes(nanny: int) -> list[int]:
    def is_worker(pid: int) -> bool:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"spawn_main" in command and b"resource_tracker" not in command

    return [pid for pid in children(nanny) if is_worker(pid)]


def test_cluster_faults(runs: Runs) -> None:
    """One cluster for the three claims: its start is the slow part."""
    words = ["--candidates", "24", "--proxies", "steady(sleep=0.1)", "--seed", "5"]
    runs.complete("whole", *words)
    scheduler, address = start_scheduler(runs, "first")
    nanny = start_worker(runs, address)

    process = runs.search("cluster", *words, "--scheduler", address)
    wait_for(lambda: len(runs.stored("cluster")) >= 4, "rows from the cluster")
    os.kill(worker_processes(nanny.pid)[0], signal.SIGKILL)
    wait_for(lambda: len(runs.stored("cluster")) >= 9, "rows after a worker was killed")
    kill(scheduler)
    output = runs.finish(process, code=2)
    assert "every row stored so far is safe" in output
    kept = runs.stored("cluster")
    assert 9 <= len(kept) < 24
    kill(nanny)

    scheduler, address = start_scheduler(runs, "second")
    start_worker(runs, address)
    evaluated = len(runs.evaluated())
    runs.complete("cluster", *words, "--scheduler", address)
    assert not kept & set(runs.evaluated()[evaluated:])
    assert_frame_equal(runs.table("cluster"), runs.table("whole"))


def test_no_scheduler_is_a_clear_error(runs: Runs) -> None:
    words = ["--candidates", "2", "--proxies", "steady", "--scheduler", "tcp://127.0.0.1:9"]
    process = runs.search("nowhere", *words)
    output = runs.finish(process, code=2)
    assert "allowed: the address of a running Dask scheduler" in output
