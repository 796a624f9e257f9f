"""Scoring: architectures in, rows out as they come, on any executor, each row stored before it is handed out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vintk_kit.manifest import bind_parameters
from vintk_kit.paths import run_folder
from vintk_kit.scoring.context import default_workers
from vintk_kit.scoring.frames import costs, wide
from vintk_kit.scoring.job import Job, load_plugins, make_job
from vintk_kit.scoring.pool import CandidateTimeoutError, ProcessPool, WorkerDiedError
from vintk_kit.scoring.scorer import Scorer
from vintk_kit.scoring.stream import ExecutorLostError
from vintk_kit.store import Store

if TYPE_CHECKING:
    from vintk_kit.data import ProbeBatch
    from vintk_kit.spaces import Architecture, SearchSpace

__all__ = [
    "CandidateTimeoutError",
    "ExecutorLostError",
    "Job",
    "ProcessPool",
    "Scorer",
    "WorkerDiedError",
    "costs",
    "default_workers",
    "load_plugins",
    "make_job",
    "score",
    "wide",
]


def score(
    space: str | SearchSpace,
    architectures: Iterable[Architecture],
    proxies: str | Sequence[str],
    *,
    data: str | ProbeBatch = "photopatch",
    image_size: int | None = None,
    batch_size: int = 32,
    seeds: Sequence[int] | int = (0,),
    init: str = "shared",
    workers: int = 0,
    executor: Executor | None = None,
    scheduler: str | None = None,
    run: str | Path | None = None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    num_classes: int | None = None,
    root: str | Path | None = None,
    retry_errors: bool = False,
) -> Iterator[dict[str, Any]]:
    """Scores untrained networks.

    Args:
        space: Name or spec of a search space, or the space.
        architectures: Candidates; consumed lazily.
        proxies: Proxy specs, as a list or separated by commas.
        data: Name of a data set, or a `ProbeBatch`.
        image_size: Side S; by default the space's.
        batch_size: Number of images N.
        seeds: Seeds of the initial weights; a row for each.
        init: `shared`: all candidates slice one supernet per seed. `independent`: each draws its own weights.
        workers: 0 scores in this process with torch's threads; n > 0 in n processes of one thread each.
        executor: Any `concurrent.futures.Executor` instead.
        scheduler: Address of a Dask scheduler instead.
        run: Name of a run folder that keeps the rows; rows already there are not computed again.
        timeout: Seconds per candidate, with workers or a scheduler; longer ones become rows with an error.
        stop: Once set, candidates in flight are finished and nothing more is started.
        num_classes: Classes C of the head; by default those of the data.
        root: Folder of the data files.
        retry_errors: Compute rows again that were stored with an error.

    Returns:
        An iterator over rows, in the order of the architectures, then seeds, then proxies. A row has the columns of
        `vintk_kit.store.COLUMNS`; `score` is oriented so that higher is better and None where `error` tells why.
        The same seeds give the same rows whatever the executor; between thread counts the last digits may differ.

    Raises:
        InputError: If a value is not allowed; raised at the call, before any work.
        DataMissingError: If the data set is absent.
        StoreError: If the run folder is in use, damaged, full, or was made with other parameters.
    """
    job = make_job(
        space,
        proxies,
        data=data,
        image_size=image_size,
        batch_size=batch_size,
        seeds=seeds,
        init=init,
        num_classes=num_classes,
        root=root,
    )
    folder = None if run is None else run_folder(run)
    options = {
        "workers": workers,
        "executor": executor,
        "scheduler": scheduler,
        "timeout": timeout,
        "stop": stop,
    }
    return _rows(job, architectures, folder, retry_errors, options)


def _rows(
    job: Job, architectures: Iterable[Architecture], folder: Path | None, retry_errors: bool, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        store = None
        if folder is not None:
            store = stack.enter_context(Store(folder))
            parameters = job.parameters()
            bind_parameters(
                folder,
                "scoring",
                {name: parameters[name] for name in parameters if name not in ("proxies", "seeds")},
            )
            if retry_errors:
                store.forget_errors()
        scorer = stack.enter_context(Scorer(job, store=store, **options))
        for rows in scorer.run(architectures):
            yield from rows
