"""Scoring: the same rows on every executor, in order, none computed twice, failures as rows."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from vintk_kit.data import ProbeBatch, probe_batch
from vintk_kit.errors import DataMissingError, InputError, StoreError
from vintk_kit.scoring import WorkerDiedError, default_workers, score
from vintk_kit.scoring.context import Context, choose_device
from vintk_kit.scoring.job import make_job
from vintk_kit.scoring.stream import ExecutorLostError, InProcess, ordered
from vintk_kit.spaces import get_space
from vintk_kit.store import COLUMNS, read_rows

PROXIES = "params,plain"
SMALL = {"batch_size": 4}


@pytest.fixture(scope="module")
def architectures() -> list:
    space, rng = get_space("microvit-32"), np.random.default_rng(0)
    return [space.sample(rng) for _ in range(5)]


def frame(rows) -> pd.DataFrame:
    return pd.DataFrame(rows).drop(columns="seconds")


def test_rows_hold_what_the_contract_says(architectures) -> None:
    rows = list(score("microvit-32", architectures, PROXIES, seeds=(0, 1), **SMALL))
    assert len(rows) == 5 * 2 * 2
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [row["index"] for row in rows] == [i for i in range(5) for _ in range(4)]
    assert [row["seed"] for row in rows[:4]] == [0, 0, 1, 1]
    assert all(row["error"] is None for row in rows), rows
    first = rows[0]
    space = get_space("microvit-32")
    assert first["params"] == space.params(architectures[0], num_classes=10, image_size=32)
    assert space.parse(first["architecture"]) == architectures[0]


def test_shared_and_independent_weights_differ_and_repeat(architectures) -> None:
    def values(init: str) -> list[float]:
        return [row["score"] for row in score("microvit-32", architectures, "plain", init=init, **SMALL)]

    assert values("shared") == values("shared") != values("independent") == values("independent")


def test_threads_and_process_give_the_same_rows(architectures) -> None:
    with ThreadPoolExecutor(1) as executor:
        threaded = frame(score("microvit-32", architectures, PROXIES, executor=executor, **SMALL))
    assert_frame_equal(threaded, frame(score("microvit-32", architectures, PROXIES, **SMALL)))


@pytest.mark.slow
@pytest.mark.serial
def test_worker_processes_give_the_same_rows(architectures) -> None:
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = frame(score("microvit-32", architectures, PROXIES, seeds=(0, 1), **SMALL))
    finally:
        torch.set_num_threads(torch_threads)
    assert_frame_equal(frame(score("microvit-32", architectures, PROXIES, seeds=(0, 1), workers=2, **SMALL)), alone)


def test_stored_rows_are_not_computed_again(architectures, tmp_path, monkeypatch) -> None:
    first = frame(score("microvit-32", architectures[:3], PROXIES, run=tmp_path, **SMALL))
    computed = []
    original = Context.rows
    monkeypatch.setattr(Context, "rows", lambda self, a, p: computed.append((a.key, *p)) or original(self, a, p))
    again = frame(score("microvit-32", architectures[:3], PROXIES, run=tmp_path, **SMALL))
    assert computed == []
    assert_frame_equal(again, first)
    list(score("microvit-32", architectures[:4], f"{PROXIES},depth", run=tmp_path, **SMALL))
    assert computed == [
        *((architecture.key, "depth") for architecture in architectures[:3]),
        (architectures[3].key, "params", "plain", "depth"),
    ]
    assert len(read_rows(tmp_path)) == 4 * 3
    with pytest.raises(StoreError, match="batch_size: recorded 4, got 8"):
        list(score("microvit-32", architectures, PROXIES, run=tmp_path, batch_size=8))


def test_what_fails_is_a_row(architectures, monkeypatch) -> None:
    original = Context.network

    def network(self, architecture, seed, in_channels=3):
        if architecture == architectures[1]:
            raise RuntimeError("cannot\nbuild")
        return original(self, architecture, seed, in_channels)

    monkeypatch.setattr(Context, "network", network)
    rows = pd.DataFrame(score("microvit-32", architectures[:3], "plain", **SMALL))
    assert rows["error"].tolist()[1] == "RuntimeError: cannot build"
    assert rows["error"].notna().tolist() == [False, True, False]
    assert rows["score"].isna().tolist() == [False, True, False]


def test_stop_ends_after_what_is_in_flight(architectures) -> None:
    stop = threading.Event()
    seen = []
    for row in score("microvit-32", architectures, "params", stop=stop, **SMALL):
        seen.append(row["key"])
        stop.set()
    assert seen == [architectures[0].key]


def test_own_probe_batches(architectures) -> None:
    batch = probe_batch("photopatch", n=4, image_size=32)
    own = frame(score("microvit-32", architectures[:2], "plain", data=batch))
    assert_frame_equal(own, frame(score("microvit-32", architectures[:2], "plain", **SMALL)))
    with pytest.raises(InputError, match="NaN or infinite"):
        ProbeBatch(batch.images * float("nan"), batch.labels, "x", 10, batch.mean, batch.std)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "microvit"}, "search space"),
        ({"proxies": "nothing"}, "nothing"),
        ({"proxies": ""}, "at least one proxy"),
        ({"init": "random"}, "shared, independent"),
        ({"seeds": (0, 0)}, "distinct integers"),
        ({"workers": -1}, "0 .in this process. or more"),
        ({"workers": 1, "scheduler": "tcp://x"}, "one of them"),
        ({"timeout": 3.0}, "with workers"),
        ({"timeout": -3.0, "workers": 1}, "more than 0"),
        ({"batch_size": 1}, "at least 2 images"),
        ({"data": "nowhere"}, "data set"),
    ],
)
def test_bad_input_says_what_is_allowed(architectures, options: dict, message: str) -> None:
    options = {"space": "microvit-32", "proxies": "params", **options}
    with pytest.raises(InputError, match=message):
        list(score(options.pop("space"), architectures, options.pop("proxies"), **options))


def test_absent_data_are_an_error_not_rows(architectures, tmp_path) -> None:
    with pytest.raises(DataMissingError, match="cifar10"):
        list(score("microvit-32", architectures, "params", data="cifar10", root=tmp_path))


def test_the_processor_is_chosen_without_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("VINTK_WORKER_INDEX", "3")
    assert choose_device() == "cuda:1"


def test_jobs_are_told_apart_and_canonical() -> None:
    job = make_job("microvit-32", "params, params,plain")
    assert job.proxies == ("params", "plain")
    assert job.image_size == 32
    assert job.identity != make_job("microvit-32", "params").identity


def test_outcomes_come_in_order_with_a_bounded_window() -> None:
    taken = []

    def calls():
        for i in range(20):
            taken.append(i)
            yield i, (i,)

    done = []
    for item, value in ordered(InProcess(), lambda i: i * i, calls(), window=4):
        done.append((item, value))
        assert len(taken) - len(done) <= 3
    assert done == [(i, i * i) for i in range(20)]


class Dying(InProcess):
    """Loses the worker of each call the first `times` times."""

    def __init__(self, times: int) -> None:
        self.times, self.calls = times, 0

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.calls += 1
        if self.calls > self.times:
            return super().submit(fn, *args, **kwargs)
        future: Future = Future()
        future.set_exception(WorkerDiedError("gone"))
        return future


def test_a_lost_call_is_tried_once_more_even_the_last() -> None:
    assert list(ordered(Dying(1), abs, [(0, (-1,))], window=3)) == [(0, 1)]
    [(item, outcome)] = ordered(Dying(9), abs, [(0, (-1,))], window=3)
    assert item == 0
    assert isinstance(outcome, WorkerDiedError)


def test_a_silent_executor_is_noticed() -> None:
    class Silent(InProcess):
        def submit(self, fn, /, *args, **kwargs) -> Future:
            return Future()

    with pytest.raises(ExecutorLostError, match="stored so far is safe"):
        list(ordered(Silent(), abs, [(0, (-1,))], window=1, healthy=lambda: False))


def test_default_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process per core where each gets enough to do, else none; GPUs count instead of cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert [default_workers(n) for n in (1, 31, 32, 50, 1000)] == [0, 0, 2, 3, 4]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert default_workers(1000) == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert default_workers(1000) == 0
