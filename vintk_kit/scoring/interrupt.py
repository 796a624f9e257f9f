"""Ctrl-C in two steps: first finish what is in flight, then stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(notify: Callable[[str], None]) -> Iterator[threading.Event]:
    """Turns SIGINT and SIGTERM into a stop event; a second one raises KeyboardInterrupt.

    Args:
        notify: Called with a line for the user at the first signal.

    Yields:
        The event to hand to `score` or `search` as `stop`.
    """
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        notify("stopping: finishing the candidates in flight (interrupt again to stop now)")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
