"""Starts real `vintk` processes and waits for what they do, never for a fixed time."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from vintk_kit.store import read_rows

HERE = Path(__file__).resolve().parent
DEADLINE = 120.0
OPTIONS = ("--space", "microvit-32", "--batch-size", "4", "--no-report")


def wait_for(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> object:
    """Polls until the condition is true; fails with what was waited for."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {deadline:g} s for {what}")


class Runs:
    """Run folders of one test and the processes that work on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.marks = root / "marks"
        self.marks.mkdir()
        self.log = root / "evaluated.txt"
        self.processes: list[subprocess.Popen] = []
        self.outputs: dict[int, Path] = {}
        self.environment = {
            **os.environ,
            "VINTK_RUNS": str(root),
            "VINTK_PLUGINS": "fault_proxies",
            "PYTHONPATH": str(HERE),
            "FAULT_LOG": str(self.log),
            "FAULT_MARKS": str(self.marks),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, words: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen:
        """Starts `python -m WORDS` in a session of its own."""
        return self._start(["-m", *words], environment)

    def start_code(self, code: str) -> subprocess.Popen:
        """Starts `python -c CODE`."""
        return self._start(["-c", code], None)

    def _start(self, words: list[str], environment: dict[str, str] | None) -> subprocess.Popen:
        path = self.root / f"output-{len(self.processes)}.txt"
        with path.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, *words],
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.outputs[process.pid] = path
        self.processes.append(process)
        return process

    def output(self, process: subprocess.Popen) -> str:
        """What a process has written so far."""
        return self.outputs[process.pid].read_text()

    def search(self, run: str, *words: str) -> subprocess.Popen:
        """Starts a search on a tiny space."""
        return self.start(["vintk_kit", "search", *OPTIONS, "--run", run, *words])

    def finish(self, process: subprocess.Popen, code: int = 0) -> str:
        """Waits for the end, checks the exit code, returns the output."""
        process.wait(timeout=DEADLINE)
        output = self.output(process)
        assert process.returncode == code, output
        return output

    def complete(self, run: str, *words: str) -> str:
        """A search from start to end."""
        return self.finish(self.search(run, *words))

    def stored(self, run: str) -> set[str]:
        """Keys in the store of a run, also while it is written."""
        path = self.root / run / "scores.sqlite"
        if not path.exists():
            return set()
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            try:
                return {key for (key,) in connection.execute("SELECT DISTINCT key FROM scores")}
            finally:
                connection.close()
        return set()

    def table(self, run: str) -> pd.DataFrame:
        """The final table without what time decides."""
        return read_rows(self.root / run).drop(columns="seconds")

    def evaluated(self) -> list[str]:
        """Keys in the order in which workers began to score them."""
        return self.log.read_text().split() if self.log.exists() else []


def kill(process: subprocess.Popen) -> None:
    """kill -9 of the process and its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def children(pid: int) -> list[int]:
    """Process ids of the direct children."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


@contextmanager
def runs_in(root: Path) -> Iterator[Runs]:
    """Runs whose processes are gone at the end, whatever happened."""
    runs = Runs(root)
    try:
        yield runs
    finally:
        for process in runs.processes:
            helpers = children(process.pid) if process.poll() is None else []
            kill(process)
            for helper in helpers:
                with suppress(ProcessLookupError):
                    os.kill(helper, signal.SIGKILL)
