"""Drivers and workers killed at random moments: nothing is lost, nothing is scored twice, the table is the same."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from harness import Runs, children, kill, wait_for
from pandas.testing import assert_frame_equal

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(400)]

KILLS = int(os.environ.get("VINTK_TEST_KILLS", "4"))
SEED = int(os.environ.get("VINTK_TEST_SEED", "0"))


def kill_and_resume(runs: Runs, words: list[str], kills: int) -> None:
    """Kills the driver at random moments, resumes each time, and checks that stored rows are not scored again."""
    moments = random.Random(SEED)
    for _ in range(kills):
        before, evaluated = runs.stored("killed"), len(runs.evaluated())
        process = runs.search("killed", *words)
        target = len(before) + moments.randint(0, 5)
        wait_for(lambda: len(runs.stored("killed")) >= target or process.poll() is not None, "rows")  # noqa: B023
        time.sleep(moments.random() * 0.08)  # the random moment itself, not a wait
        kill(process)
        repeated = before & set(runs.evaluated()[evaluated:])
        assert not repeated, f"scored again: {repeated}"


@pytest.mark.parametrize(
    ("strategy", "workers", "kills"),
    [("random", "0", KILLS), ("evolution(population=10,select=4,crossovers=4,mutations=4)", "2", 2)],
)
def test_a_killed_driver_resumes_to_the_same_table(runs: Runs, strategy: str, workers: str, kills: int) -> None:
    words = ["--strategy", strategy, "--candidates", "40", "--proxies", "steady(sleep=0.05)", "--seed", "3"]
    runs.complete("whole", *words, "--workers", workers)
    kill_and_resume(runs, [*words, "--workers", workers], kills)
    output = runs.complete("killed", *words, "--workers", workers)
    assert_frame_equal(runs.table("killed"), runs.table("whole"))
    assert "40 " in output
    assert "0 scored now, 40 read from the store" in runs.complete("killed", *words)


def test_a_killed_worker_costs_nothing(runs: Runs) -> None:
    words = ["--candidates", "16", "--proxies", "steady(sleep=0.1)"]
    runs.complete("whole", *words)
    process = runs.search("struck", *words, "--workers", "2")
    for count in (2, 6):
        wait_for(lambda: len(runs.stored("struck")) >= count, "rows")  # noqa: B023
        victims = wait_for(lambda: worker_pids(process.pid), "workers")
        os.kill(victims[0], signal.SIGKILL)
    runs.finish(process)
    assert_frame_equal(runs.table("struck"), runs.table("whole"))


def worker_pids(driver: int) -> list[int]:
    return [pid for pid in children(driver) if b"vintk_kit.scoring.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_workers_end_with_their_driver(runs: Runs) -> None:
    process = runs.search("orphans", "--candidates", "50", "--proxies", "steady(sleep=0.2)", "--workers", "2")
    wait_for(lambda: len(runs.stored("orphans")) >= 1, "a row")
    workers = worker_pids(process.pid)
    assert len(workers) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers), "the workers to end")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_interrupt_finishes_what_is_in_flight(runs: Runs) -> None:
    words = ["--candidates", "30", "--proxies", "steady(sleep=0.1)"]
    runs.complete("whole", *words)
    process = runs.search("stopped", *words, "--workers", "2")
    wait_for(lambda: len(runs.stored("stopped")) >= 3, "rows")
    evaluated = runs.evaluated()
    process.send_signal(signal.SIGINT)
    output = runs.finish(process, code=130)
    assert "run the same command again" in output
    assert (runs.root / "stopped" / "architecture.json").exists()
    # Everything that was begun is stored.
    assert set(runs.evaluated()[len(evaluated) :]) <= runs.stored("stopped")
    runs.complete("stopped", *words)
    assert_frame_equal(runs.table("stopped"), runs.table("whole"))


def test_two_interrupts_stop_at_once(runs: Runs) -> None:
    words = ["--candidates", "6", "--proxies", "steady,faulty(kind='hang',every=1)", "--workers", "1"]
    process = runs.search("stopped", *words)
    wait_for(runs.evaluated, "the hanging candidate to begin")
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "interrupt again" in runs.output(process), "the first interrupt to be heard")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) in (1, 130)
