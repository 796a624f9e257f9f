"""Calls in flight on an executor: bounded in number, applied in the order of submission."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass
from typing import Any

from vintk_kit.errors import VintkError
from vintk_kit.scoring.pool import WorkerDiedError, WorkerSetupError

POLL_SECONDS = 1.0


class ExecutorLostError(VintkError, RuntimeError):
    """The executor (a cluster, a pool) is gone; what was stored is safe."""


@dataclass
class Call:
    """One entry of the stream: arguments for the function, or None if nothing is to be computed."""

    item: Any
    arguments: tuple | None
    future: Future | None = None
    attempts: int = 0


class InProcess(Executor):
    """Runs each call at once in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Calls the function; the future is done when this returns."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def ordered(
    executor: Executor,
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, tuple | None]],
    *,
    window: int,
    stop: threading.Event | None = None,
    healthy: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Any, Any]]:
    """Runs calls with at most `window` in flight and yields their outcomes in the order of submission.

    Args:
        executor: Any `concurrent.futures.Executor`.
        function: What to call; importable by the workers.
        calls: Pairs (item, arguments); arguments None means nothing to compute. Consumed as room becomes free.
        window: Largest number of unfinished entries.
        stop: Once set, nothing more is submitted; what is in flight is finished and yielded.
        healthy: Asked while waiting; False means that no answer will come any more.

    Yields:
        Pairs (item, outcome): the value, None for nothing to compute, or the exception of the call. A call whose
        worker died is tried once more.

    Raises:
        ExecutorLostError: If the executor itself is gone.
        WorkerSetupError: If workers cannot be made ready.
    """
    source = iter(calls)
    pending: deque[Call] = deque()
    exhausted = False
    try:
        while True:
            while not exhausted and len(pending) < window and not (stop and stop.is_set()):
                entry = next(source, None)
                exhausted = entry is None
                if entry is not None:
                    call = Call(*entry)
                    _submit(executor, function, call)
                    pending.append(call)
            if not pending:
                return
            yield pending[0].item, _outcome(executor, function, pending[0], healthy)
            pending.popleft()
    finally:
        for call in pending:
            if call.future is not None:
                call.future.cancel()


def _submit(executor: Executor, function: Callable[..., Any], call: Call) -> None:
    if call.arguments is None:
        return
    call.attempts += 1
    try:
        call.future = executor.submit(function, *call.arguments)
    except (BrokenExecutor, RuntimeError) as error:
        raise _lost(error) from error


def _outcome(executor: Executor, function: Callable[..., Any], call: Call, healthy: Callable[[], bool]) -> Any:
    while call.future is not None:
        try:
            return _wait(call.future, healthy)
        except WorkerSetupError:
            raise
        except WorkerDiedError as error:
            if call.attempts > 1:
                return error
            _submit(executor, function, call)
        except (BrokenExecutor, CancelledError) as error:
            raise _lost(error) from error
        except Exception as error:
            if isinstance(error, ExecutorLostError):
                raise
            return error
    return None


def _wait(future: Future, healthy: Callable[[], bool]) -> Any:
    while True:
        try:
            return future.result(timeout=POLL_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()
            if not healthy():
                raise _lost("no answer from the scheduler") from None


def _lost(reason: object) -> ExecutorLostError:
    detail = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
    return ExecutorLostError(
        f"the executor is gone ({detail}); every row stored so far is safe: run the same command again to go on"
    )
