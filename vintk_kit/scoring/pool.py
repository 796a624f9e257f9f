"""Worker processes that may die, hang or run out of memory without taking the run with them."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from vintk_kit.errors import VintkError

STARTUP_SECONDS = 300.0
"""A worker that has not imported the library and run its set-up by then is given up."""


STARTS = 4
"""How many processes may end before they are ready until the pool gives up."""


class WorkerDiedError(VintkError, RuntimeError):
    """A worker process ended while it scored a candidate (killed, out of memory, crashed)."""


class CandidateTimeoutError(VintkError, TimeoutError):
    """A candidate took longer than its time limit; its worker was killed."""


class WorkerSetupError(VintkError, RuntimeError):
    """A worker process could not be made ready, so no candidate can be scored."""


def _nothing() -> None:
    """The set-up of workers that need none."""


class _Worker:
    """One child process and the pipe to it."""

    def __init__(self, index: int, setup: tuple[Callable[..., Any], tuple]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # A fresh interpreter rather than a fork: safe with CUDA and threads, and nothing of __main__ runs again.
            # Its own process group keeps Ctrl-C in the terminal away from it.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vintk_kit.scoring.child", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
                env=_environment(index),
            )
        self.connection = Connection(ours.detach())
        self.ready = False
        self._setup = (*setup, {})

    def call(self, task: tuple, timeout: float | None) -> Any:
        """Runs one task; raises what it raised, WorkerDiedError or CandidateTimeoutError."""
        try:
            if not self.ready:
                self.start()
            self._send(task)
            good, value = self._receive(timeout)
        except (EOFError, OSError) as error:
            if isinstance(error, CandidateTimeoutError):
                raise
            raise WorkerDiedError(f"the worker process ended ({self._reason()})") from error
        if not good:
            raise value
        return value

    def start(self) -> None:
        """Waits until the process has run the set-up."""
        self._send(self._setup)
        try:
            good, value = self._receive(STARTUP_SECONDS)
        except CandidateTimeoutError as error:
            raise WorkerSetupError(f"a worker did not start within {STARTUP_SECONDS:g} s") from error
        if not good:
            raise WorkerSetupError(f"a worker could not start ({type(value).__name__}: {value})") from value
        self.ready = True

    def _receive(self, timeout: float | None) -> Any:
        if not self.connection.poll(timeout):
            raise CandidateTimeoutError(f"no result within {timeout:g} s")
        return pickle.loads(self.connection.recv_bytes())

    def _send(self, content: Any) -> None:
        # Plain pickle: torch's own way of sending tensors shares memory with a process that may die.
        self.connection.send_bytes(pickle.dumps(content))

    def _reason(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self.process.wait(5)
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "no answer"

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()


def _environment(index: int) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "VINTK_WORKER_INDEX": str(index),
    }


class ProcessPool(Executor):
    """A `concurrent.futures.Executor` whose tasks may kill their worker.

    Unlike the standard library's pool, a dead worker fails only the task it was on (`WorkerDiedError`) and is replaced;
    a task over the time limit fails with `CandidateTimeoutError` and its worker is killed. One thread here minds one
    process there. The processes end by themselves when this process dies.

    Args:
        workers: Number of processes.
        timeout: Time limit per task in seconds; None waits for ever.
        setup: A function and its arguments, run once in each new process before its first task.
    """

    def __init__(
        self,
        workers: int,
        *,
        timeout: float | None = None,
        setup: tuple[Callable[..., Any], tuple] = (_nothing, ()),
    ) -> None:
        self.timeout = timeout
        self._setup = setup
        self._tasks: queue.SimpleQueue[tuple[Future, tuple] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._running: dict[int, _Worker] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._mind, args=(i,), name=f"vintk-worker-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Queues a call of an importable function; its value comes back through the future."""
        if self._closed:
            raise RuntimeError("cannot submit after shutdown")
        future: Future = Future()
        self._tasks.put((future, (fn, args, kwargs)))
        return future

    def pids(self) -> list[int]:
        """Process ids of the live workers."""
        with self._guard:
            return [worker.process.pid for worker in self._running.values() if worker.alive()]

    def _mind(self, index: int) -> None:
        worker = None
        try:
            worker = self._start(index)
            while (item := self._tasks.get()) is not None:
                future, task = item
                if not future.set_running_or_notify_cancel():
                    continue
                if worker is None or not worker.alive():
                    worker = self._restart(index, worker)
                worker = self._serve(index, worker, future, task)
        finally:
            if worker is not None:
                worker.kill()

    def _serve(self, index: int, worker: _Worker | None, future: Future, task: tuple) -> _Worker | None:
        try:
            worker = self._made_ready(index, worker)
            future.set_result(worker.call(task, self.timeout))
        except (WorkerDiedError, CandidateTimeoutError) as error:
            # The replacement starts first: by the time a caller hears of the death the pool is whole again.
            replacement = self._restart(index, worker)
            future.set_exception(error)
            return replacement
        except BaseException as error:
            future.set_exception(error)
        return worker

    def _made_ready(self, index: int, worker: _Worker | None) -> _Worker:
        """A worker that has run its set-up; one that dies before it has is replaced a few times."""
        for _ in range(STARTS):
            if worker is None:
                raise WorkerDiedError("the pool is shutting down")
            try:
                if not worker.ready:
                    worker.start()
                return worker
            except (EOFError, OSError):
                worker = self._restart(index, worker)
        raise WorkerSetupError(f"{STARTS} workers in a row ended before they were ready")

    def _start(self, index: int) -> _Worker | None:
        with self._guard:
            if self._closed:
                return None
            self._running[index] = _Worker(index, self._setup)
            return self._running[index]

    def _restart(self, index: int, worker: _Worker | None) -> _Worker | None:
        if worker is not None:
            worker.kill()
        return self._start(index)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the workers; with `cancel_futures`, at once, whatever they are doing."""
        with self._guard:
            self._closed = True
            running = list(self._running.values())
        if cancel_futures:
            self._cancel_queued()
            for worker in running:
                with suppress(ProcessLookupError, PermissionError):
                    worker.process.kill()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _cancel_queued(self) -> None:
        with suppress(queue.Empty):
            while True:
                item = self._tasks.get_nowait()
                if item is not None:
                    item[0].cancel()
