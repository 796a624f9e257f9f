"""Two adapters around work: a function with a callback as rows, and "only the newest settings count"."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .live import running_loop


class CallbackRows:
    """Makes a rows function of a blocking function that reports through a callback and ends on an event.

    `result` is what the function returned, or None before. The callback blocks until its row is taken, so pausing a
    run pauses the function.
    """

    def __init__(self, function: Callable, callback: str, args: tuple, options: dict[str, Any]) -> None:
        self._function, self._callback, self._args, self._options = function, callback, args, options
        self.result: Any = None

    def __call__(self, stop: threading.Event) -> Iterator[dict]:
        rows: queue.Queue = queue.Queue(maxsize=1)
        closed = threading.Event()

        def put(item: object) -> None:
            while not closed.is_set():
                with contextlib.suppress(queue.Full):
                    rows.put(item, timeout=0.1)
                    return

        def work() -> None:
            error = None
            try:
                report = {self._callback: lambda row: put(dict(row)), "stop": stop}
                self.result = self._function(*self._args, **self._options, **report)
            except BaseException as caught:
                error = caught
            put((error,))

        thread = threading.Thread(target=work, name="vintk-callback", daemon=True)
        thread.start()
        try:
            while isinstance(item := rows.get(), dict):
                yield item
            if item[0] is not None:
                raise item[0]
        finally:
            closed.set()
            thread.join()


def callback_rows(function: Callable, callback: str, *args: Any, **options: Any) -> CallbackRows:
    """A rows function from `function(*args, **options, <callback>=..., stop=...)`.

    Example:
        job = callback_rows(search, "on_row", "microvit-32", candidates=60)
        panel = search_panel(job, total=60)   # afterwards: job.result
    """
    return CallbackRows(function, callback, args, options)


class LatestJob:
    """Computes in a thread, for the newest settings only: settings that arrive meanwhile replace one another.

    Args:
        function: settings -> result; runs in the worker thread and must not touch widgets.
        on_result: Called with (settings, result) on the kernel's loop.
        on_error: Called with (settings, exception) on the kernel's loop.
        on_start: Called with (settings) on the kernel's loop when a computation begins.
        on_progress: Called with (words) on the kernel's loop; `function` then takes `report` as a second argument.

    Without an event loop (scripts, tests), `submit` computes at once in the calling thread.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        on_result: Callable[[Any, Any], None],
        on_error: Callable[[Any, Exception], None],
        on_start: Callable[[Any], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self._on_progress = on_progress
        self._function, self._on_result, self._on_error = function, on_result, on_error
        self._on_start = on_start or (lambda settings: None)
        self._loop = running_loop()
        self._lock = threading.Lock()
        self._waiting: list = []
        self._working = False

    def submit(self, settings: Any) -> None:
        """Asks for a computation; from any thread, returns at once when there is an event loop."""
        self._loop = self._loop or running_loop()
        if self._loop is None:
            self._compute(settings, lambda call, *values: call(*values))
            return
        with self._lock:
            self._waiting = [settings]
            if self._working:
                return
            self._working = True
        threading.Thread(target=self._work, name="vintk-latest", daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting or being computed."""
        with self._lock:
            return not self._working

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._working = False
                    return
                settings = self._waiting.pop()
            self._compute(settings, self._loop.call_soon_threadsafe)

    def _compute(self, settings: Any, deliver: Callable) -> None:
        try:
            deliver(self._on_start, settings)
            report = (lambda words: deliver(self._on_progress, words),) if self._on_progress else ()
            result = self._function(settings, *report)
        except Exception as error:
            deliver(self._on_error, settings, error)
        else:
            deliver(self._on_result, settings, result)
