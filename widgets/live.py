"""Running work beside a notebook: one worker thread, one queue, one writer.

A *rows function* takes a `threading.Event` (set when the user wants to stop) and returns an iterable of dicts.
`LiveRun` iterates it in a daemon thread that never touches a widget; an asyncio task on the kernel's loop, the only
writer of widgets, drains the queue at most four times a second. Button callbacks may come from any thread and only
signal. `HeadlessRun` has the same interface and simply runs to the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

import pandas as pd

from vintk_kit.errors import InputError

Rows = Callable[[threading.Event], Iterable[dict]]
PERIOD = 0.25  # seconds between two updates: faster floods the browser, which then shows stale frames


class _Run:
    """What both runs share: rows so far, counts, rate, remaining time."""

    def __init__(
        self,
        rows: Rows,
        *,
        on_rows: Callable[[list[dict]], None] | None = None,
        on_status: Callable[[_Run], None] | None = None,
        total: int | None = None,
        count: str | None = None,
    ) -> None:
        self._factory = rows
        self._on_rows = on_rows or (lambda batch: None)
        self._on_status = on_status or (lambda run: None)
        self._count = count
        self._seen: set = set()
        self._busy = 0.0
        self._since: float | None = None
        self.total = total
        self.rows: list[dict] = []
        self.failures = 0
        self.state = "ready"
        self.error: BaseException | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """The rows so far, one line each."""
        return pd.DataFrame(self.rows)

    @property
    def completed(self) -> int:
        """Rows so far, or distinct values of the counted column."""
        return len(self._seen) if self._count else len(self.rows)

    @property
    def seconds(self) -> float:
        """Seconds of work so far, pauses excluded."""
        return self._busy + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def rate(self) -> float:
        """Completed per second of work; 0 before the first."""
        return self.completed / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at the present rate, or None while unknown."""
        if not self.total or not self.rate:
            return None
        return max(self.total - self.completed, 0) / self.rate

    def _clock(self, running: bool) -> None:
        now = time.monotonic()
        if self._since is not None:
            self._busy += now - self._since
        self._since = now if running else None

    def _take(self, batch: list[dict]) -> None:
        self.rows.extend(batch)
        for row in batch:
            self.failures += isinstance(row.get("error"), str)
            if self._count:
                self._seen.add(row.get(self._count))
        if batch:
            self._on_rows(batch)

    def _set_state(self, state: str) -> None:
        self.state = state
        self._clock(state in ("running", "stopping"))
        self._on_status(self)

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        return self.done().__await__()

    async def done(self) -> pd.DataFrame:
        raise NotImplementedError


class HeadlessRun(_Run):
    """Runs to the end in the calling thread; the twin of `LiveRun` for papermill and scripts.

    `start()` returns when the work is done and raises what it raised. `stop()` works from another thread.
    """

    def __init__(self, rows: Rows, **options: Any) -> None:
        super().__init__(rows, **options)
        self._stop = threading.Event()

    def start(self) -> None:
        """Does all the work, unless it is done already."""
        if self.state != "ready":
            return
        self._set_state("running")
        try:
            for row in self._factory(self._stop):
                self._take([row])
                if self._stop.is_set():
                    break
        except BaseException as error:
            self.error = error
            self._set_state("failed")
            raise
        self._set_state("stopped" if self._stop.is_set() else "done")

    def stop(self) -> None:
        """Ends the work after the present row."""
        self._stop.set()

    def pause(self) -> None:
        """Nothing to pause: nobody could resume a run that holds its only thread."""

    def resume(self) -> None:
        """See `pause`."""

    async def done(self) -> pd.DataFrame:
        """Starts if needed and returns the frame; raises what the work raised."""
        self.start()
        if self.error:
            raise self.error
        return self.frame


class LiveRun(_Run):
    """Runs in a worker thread while the notebook stays responsive.

    States: ready -> running <-> paused -> stopping -> stopped, or done, or failed. `start`, `stop`, `pause` and
    `resume` may be called from any thread and return at once. A finished run can be started again: it begins anew.

    Args:
        rows: The rows function.
        on_rows: Called on the kernel's loop with each batch of new rows.
        on_status: Called on the kernel's loop whenever state or counts may have changed.
        total: Expected number of completed rows, for progress and remaining time.
        count: A column whose distinct values count as completed, instead of rows.
        period: Seconds between two updates.
    """

    def __init__(self, rows: Rows, *, period: float = PERIOD, **options: Any) -> None:
        super().__init__(rows, **options)
        self._period = period
        self._loop = running_loop()
        self._go, self._stop = threading.Event(), threading.Event()
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Starts the work unless it runs already.

        Raises:
            InputError: There is no event loop, as in a plain script; use `live=False` there.
        """
        loop = running_loop()
        if loop is not None and self._loop in (None, loop):
            self._loop = loop
            self._launch()
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._launch)
        else:
            raise InputError("a live run needs a notebook's event loop; got a plain script; allowed: live=False")

    def stop(self) -> None:
        """Asks the work to end after the present row."""
        self._stop.set()
        self._go.set()

    def pause(self) -> None:
        """Holds the work before its next row."""
        self._go.clear()

    def resume(self) -> None:
        """Continues after `pause`."""
        self._go.set()

    async def done(self) -> pd.DataFrame:
        """Waits for the end (starting first if needed) and returns the frame; raises what the work raised."""
        if self._task is None:
            self.start()
            while self._task is None:
                await asyncio.sleep(0)
        await asyncio.shield(self._task)
        if self.error:
            raise self.error
        return self.frame

    def _launch(self) -> None:
        if self._task is not None and not self._task.done():
            return
        self.rows, self.failures, self.error, self._seen, self._busy = [], 0, None, set(), 0.0
        self._stop.clear()
        self._go.set()
        results: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(results,), name="vintk-run", daemon=True).start()
        self._set_state("running")
        self._task = asyncio.get_running_loop().create_task(self._write(results))

    def _work(self, results: queue.SimpleQueue) -> None:
        """The worker thread: rows into the queue, then the end marker with the error if there was one."""
        error, iterator = None, None
        try:
            iterator = iter(self._factory(self._stop))
            while not self._stop.is_set():
                self._go.wait()
                if self._stop.is_set():
                    break
                row = next(iterator, None)
                if row is None:
                    break
                results.put(("row", row))
        except BaseException as caught:
            error = caught
        finally:
            with contextlib.suppress(Exception):
                close = getattr(iterator, "close", None)
                if close:
                    close()
        results.put(("end", error))

    def _present_state(self) -> str:
        if self._stop.is_set():
            return "stopping"
        return "running" if self._go.is_set() else "paused"

    async def _write(self, results: queue.SimpleQueue) -> None:
        """The only writer: drains the queue, hands batches on, reports the state."""
        ended = False
        while not ended:
            batch = []
            while not results.empty():
                kind, value = results.get_nowait()
                if kind == "row":
                    batch.append(value)
                else:
                    ended, self.error = True, self.error or value
            try:
                self._take(batch)
            except Exception as error:  # a figure that cannot be drawn ends the run, visibly
                self.error = self.error or error
                self.stop()
                self._on_rows = lambda batch: None
            if not ended:
                self._set_state(self._present_state())
                await asyncio.sleep(self._period)
        self._set_state("failed" if self.error else "stopped" if self._stop.is_set() else "done")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def make_run(rows: Rows, *, live: bool, **options: Any) -> LiveRun | HeadlessRun:
    """A `LiveRun` in a notebook with widgets, its `HeadlessRun` twin otherwise; the options are those of `LiveRun`."""
    if live:
        return LiveRun(rows, **options)
    options.pop("period", None)
    return HeadlessRun(rows, **options)
