"""A job made ready in one process, and the scoring of one candidate with it."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vintk_kit.scoring.job import Job, load_plugins
from vintk_kit.scoring.pool import ProcessPool

if TYPE_CHECKING:
    from torch import nn

    from vintk_kit.data import ProbeBatch
    from vintk_kit.spaces import Architecture, Supernet


class Context:
    """A job made ready in one process: space, probe batch and supernets, each built once.

    Args:
        job: The job.
        device: Where networks and images are placed, such as `cpu` or `cuda:1`.
        batch: The job's probe batch if it was built already, elsewhere.
    """

    def __init__(self, job: Job, device: str = "cpu", batch: ProbeBatch | None = None) -> None:
        from vintk_kit.data import probe_batch
        from vintk_kit.spaces import get_space

        load_plugins()
        self.job = job
        self.device = device
        self.space = get_space(job.space)
        if batch is not None:
            self.batch = batch
        elif isinstance(job.data, str):
            self.batch = probe_batch(job.data, n=job.batch_size, image_size=job.image_size, root=job.root)
        else:
            self.batch = job.data
        self.num_classes = job.num_classes or self.batch.num_classes
        self.images = self.batch.images.to(device)
        self.labels = self.batch.labels.to(device)
        self._supernets: dict[tuple[int, int], Supernet] = {}

    def network(self, architecture: Architecture, seed: int, in_channels: int = 3) -> nn.Module:
        """Builds one candidate on the device, on views of the seed's supernet if the job shares weights."""
        sizes = {
            "in_channels": in_channels,
            "num_classes": self.num_classes,
            "image_size": self.job.image_size,
        }
        weights = None
        if self.job.init == "shared":
            if (seed, in_channels) not in self._supernets:
                self._supernets[seed, in_channels] = self.space.supernet(seed, **sizes)
            weights = self._supernets[seed, in_channels]
        network = self.space.build(architecture, **sizes, weights=weights, seed=seed)
        return network.to(self.device)

    def base_row(self, architecture: Architecture) -> dict[str, Any]:
        """The columns that all rows of one architecture share."""
        return {
            "space": architecture.space,
            "key": architecture.key,
            "architecture": architecture.to_json(),
            "init": self.job.init,
            "data_id": self.batch.data_id,
            "image_size": self.job.image_size,
            "batch_size": len(self.batch),
            "params": self._cost("params", architecture),
            "macs": self._cost("macs", architecture),
        }

    def _cost(self, name: str, architecture: Architecture) -> int | None:
        try:
            sizes = {"num_classes": self.num_classes, "image_size": self.job.image_size}
            return int(getattr(self.space, name)(architecture, **sizes))
        except Exception:  # the rows of this candidate carry the reason, in their own error
            return None

    def rows(self, architecture: Architecture, proxies: Sequence[str]) -> list[dict[str, Any]]:
        """Scores one architecture; whatever fails becomes the `error` of its rows.

        Args:
            architecture: The candidate.
            proxies: Canonical specs, a part of the job's.

        Returns:
            One row per seed and proxy, without `index`.
        """
        base = self.base_row(architecture)
        rows = []
        for seed in self.job.seeds:
            try:
                results = self._evaluate(architecture, seed, proxies)
            except Exception as error:
                results = failed(proxies, f"{type(error).__name__}: {error}")
            rows += [{**base, "seed": seed, **_checked(result)} for result in results]
        return rows

    def _evaluate(self, architecture: Architecture, seed: int, proxies: Sequence[str]) -> list[dict[str, Any]]:
        from vintk_kit.proxies import Candidate, evaluate

        network = self.network(architecture, seed)
        candidate = Candidate(
            network,
            self.images,
            self.labels,
            space=self.space,
            architecture=architecture,
            seed=seed,
            rebuild=lambda in_channels: self.network(architecture, seed, in_channels),
        )
        return evaluate(list(proxies), candidate)


def failed(proxies: Sequence[str], message: str) -> list[dict[str, Any]]:
    """Results of proxies that could not be computed."""
    nothing = dict.fromkeys(("score", "raw", "seconds", "passes"))
    return [{"proxy": proxy, **nothing, "error": " ".join(message.split())[:500]} for proxy in proxies]


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    """A result with plain Python numbers; a score that is not finite becomes an error."""
    names = ("score", "raw", "seconds", "passes")
    plain = {name: None if result[name] is None else float(result[name]) for name in names}
    row = {"proxy": str(result["proxy"]), **plain, "error": result["error"]}
    if row["error"] is None and (row["score"] is None or not math.isfinite(row["score"])):
        row["error"] = f"NumericalError: the score is {row['score']}"
    if row["error"] is not None:
        row["score"] = row["raw"] = None
    return row


_contexts: dict[tuple[str, str], Context] = {}
_guard = threading.Lock()


def context(job: Job, device: str = "cpu", batch: ProbeBatch | None = None) -> Context:
    """The context of a job in this process, built at its first use; only the last one is kept."""
    wanted = (job.identity, device)
    with _guard:
        if wanted not in _contexts:
            _contexts.clear()
            _contexts[wanted] = Context(job, device, batch)
        return _contexts[wanted]


def choose_device() -> str:
    """`cuda:(number of this worker % number of GPUs)` if there is a GPU, else `cpu`."""
    import torch

    index = int(os.environ.get("VINTK_WORKER_INDEX", "0"))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{index % count}" if count else "cpu"


PER_WORKER = 16  # candidates that pay for starting a process


def default_workers(candidates: int) -> int:
    """Worker processes for so many candidates: one per GPU or else per core, if each gets at least `PER_WORKER`.

    Processes of one thread score more per second than one process with all threads (docs/kernel.md).
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    places = gpus or cores
    return min(places, candidates // PER_WORKER) if places > 1 and candidates >= 2 * PER_WORKER else 0


def score_with(job: Job, text: str, proxies: Sequence[str]) -> list[dict[str, Any]]:
    """Scores the architecture with this JSON text; a function of this module so that any executor can call it."""
    ready = context(job, choose_device())
    return ready.rows(ready.space.parse(text), proxies)


_prepared: list[Job] = []


def prepare(job: Job, batch: ProbeBatch | None = None) -> None:
    """Set-up of a worker process: remembers the job and builds its context, so that tasks need not carry it."""
    _prepared[:] = [job]
    context(job, choose_device(), batch)


def score_prepared(text: str, proxies: Sequence[str]) -> list[dict[str, Any]]:
    """`score_with` the job of `prepare`."""
    return score_with(_prepared[0], text, proxies)


def score_shipped(
    job: Job, text: str, proxies: Sequence[str], driver: int, timeout: float | None
) -> list[dict[str, Any]]:
    """Scores in a process of a foreign executor, such as a Dask worker.

    Args:
        job: The job; its context is built at the first call in a process.
        text: JSON of the architecture.
        proxies: Specs to compute.
        driver: Process id of the caller. In another process torch is held to one thread.
        timeout: With a limit, the work is done by a child process of this one, which can be killed.
    """
    import torch

    if os.getpid() != driver:
        torch.set_num_threads(1)
    if timeout is None:
        return score_with(job, text, proxies)
    return _guarded(job, timeout).submit(score_prepared, text, proxies).result()


_pools: dict[tuple[str, float, int], ProcessPool] = {}


def _guarded(job: Job, timeout: float) -> ProcessPool:
    wanted = (job.identity, timeout, threading.get_ident())
    with _guard:
        if wanted not in _pools:
            for old in [key for key in _pools if key[2] == wanted[2]]:
                _pools.pop(old).shutdown(wait=False, cancel_futures=True)
            _pools[wanted] = ProcessPool(1, timeout=timeout, setup=(prepare, (job,)))
        return _pools[wanted]
