"""Scores architectures on an executor, keeps every row, computes none twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Self

from vintk_kit.errors import InputError
from vintk_kit.scoring.context import Context, choose_device, context, failed, prepare, score_prepared, score_shipped
from vintk_kit.scoring.job import Job
from vintk_kit.scoring.pool import ProcessPool
from vintk_kit.scoring.stream import InProcess, ordered
from vintk_kit.store import COLUMNS, Store

if TYPE_CHECKING:
    from vintk_kit.spaces import Architecture

WINDOW_PER_WORKER = 3
"""Candidates in flight per worker: one running, two waiting, so that no worker idles behind a slow one."""


class Scorer:
    """Holds the workers of a run; `run` may be called many times.

    Args:
        job: What to compute.
        workers: 0 scores in this process; n > 0 starts n processes of one thread each.
        executor: Any `concurrent.futures.Executor` instead; it is not shut down here.
        scheduler: Address of a Dask scheduler instead.
        timeout: Seconds per candidate; needs workers in processes.
        store: Where rows are looked up and kept; None keeps none.
        stop: Once set, candidates in flight are finished and nothing more is started.

    Attributes:
        scored: Architectures computed here.
        reused: Architectures whose rows were all in the store.
    """

    def __init__(
        self,
        job: Job,
        *,
        workers: int = 0,
        executor: Executor | None = None,
        scheduler: str | None = None,
        timeout: float | None = None,
        store: Store | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        _check_executors(workers, executor, scheduler, timeout)
        self.job, self.store, self.stop = job, store, stop
        self.scored = self.reused = self._position = 0
        self._healthy: Callable[[], bool] = lambda: True
        self._close: Callable[[], None] = lambda: None
        self._shipped: tuple[Job, int, float | None] | None = None
        self.window = WINDOW_PER_WORKER * max(1, workers)
        self.local: Context = context(job, "cpu" if workers or executor or scheduler else choose_device())
        if workers:
            pool = ProcessPool(workers, timeout=timeout, setup=(prepare, (job, self.local.batch)))
            self.executor: Executor = pool
            self._close = lambda: pool.shutdown(cancel_futures=True)
        elif scheduler:
            from vintk_kit.scoring.cluster import connect

            self.executor, self._healthy, slots, self._close = connect(scheduler)
            self.window = WINDOW_PER_WORKER * max(1, slots)
            self._shipped = (job, os.getpid(), timeout)
        elif executor is not None:
            self.executor = executor
            self.window = WINDOW_PER_WORKER * max(1, getattr(executor, "_max_workers", os.cpu_count() or 1))
            self._shipped = (job, os.getpid(), timeout)
        else:
            self.executor, self.window = InProcess(), 1

    def run(self, architectures: Iterable[Architecture]) -> Iterator[list[dict[str, Any]]]:
        """Scores architectures.

        Args:
            architectures: Consumed as room becomes free, so it may be endless.

        Yields:
            The rows of one architecture after the other, in the order given, each already in the store.
        """
        function = self._in_process if isinstance(self.executor, InProcess) else score_prepared
        if self._shipped:
            function = score_shipped
        calls = (self._call(architecture) for architecture in architectures)
        for (index, architecture, known, missing), outcome in ordered(
            self.executor, function, calls, window=self.window, stop=self.stop, healthy=self._healthy
        ):
            if missing:
                self.scored += 1
                fresh = self._fresh(architecture, missing, outcome)
                rows = [{name: row.get(name, index) for name in COLUMNS} for row in fresh]
                if self.store is not None:
                    self.store.add(rows)
                yield self._in_order(known + rows)
            else:
                self.reused += 1
                yield self._in_order(known)

    def _call(self, architecture: Architecture) -> tuple[tuple, tuple | None]:
        index, self._position = self._position, self._position + 1
        known = self._known(architecture)
        present = {(row["proxy"], row["seed"]) for row in known}
        missing = [proxy for proxy in self.job.proxies if any((proxy, seed) not in present for seed in self.job.seeds)]
        known = [row for row in known if row["proxy"] not in missing]
        item = (index, architecture, known, missing)
        if not missing:
            return item, None
        text = architecture.to_json()
        if self._shipped:
            job, pid, timeout = self._shipped
            return item, (job, text, missing, pid, timeout)
        return item, (text, missing)

    def _in_process(self, text: str, proxies: Sequence[str]) -> list[dict[str, Any]]:
        return self.local.rows(self.local.space.parse(text), proxies)

    def _known(self, architecture: Architecture) -> list[dict[str, Any]]:
        if self.store is None:
            return []
        same = {
            "init": self.job.init,
            "data_id": self.local.batch.data_id,
            "image_size": self.job.image_size,
            "batch_size": len(self.local.batch),
        }
        seeds, proxies = set(self.job.seeds), set(self.job.proxies)
        return [
            row
            for row in self.store.of(architecture.space, architecture.key)
            if row["seed"] in seeds and row["proxy"] in proxies and all(row[name] == same[name] for name in same)
        ]

    def _fresh(self, architecture: Architecture, proxies: list[str], outcome: Any) -> list[dict[str, Any]]:
        if isinstance(outcome, list):
            return outcome
        base = self.local.base_row(architecture)
        results = failed(proxies, f"{type(outcome).__name__}: {outcome}")
        return [{**base, "seed": seed, **result} for seed in self.job.seeds for result in results]

    def _in_order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        proxies = {proxy: i for i, proxy in enumerate(self.job.proxies)}
        return sorted(rows, key=lambda row: (row["seed"], proxies[row["proxy"]]))

    def close(self) -> None:
        """Ends the workers this object started, at once."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _check_executors(workers: int, executor: Executor | None, scheduler: str | None, timeout: float | None) -> None:
    if workers < 0:
        raise InputError(f"workers: got {workers}; allowed: 0 (in this process) or more")
    if bool(workers) + (executor is not None) + bool(scheduler) > 1:
        raise InputError("workers, executor, scheduler: got several; allowed: one of them")
    if timeout is not None and timeout <= 0:
        raise InputError(f"timeout: got {timeout}; allowed: more than 0 seconds")
    if timeout is not None and not (workers or executor is not None or scheduler):
        raise InputError("timeout: got one without workers; allowed: with workers=1 or more, or a scheduler")
