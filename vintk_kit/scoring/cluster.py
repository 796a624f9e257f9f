"""A Dask cluster as an executor."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from vintk_kit.errors import InputError, missing_extra

CONNECT_SECONDS = 20.0
GRACE_SECONDS = 5.0
"""How long the connection may be down before the scheduler counts as lost."""


class Cluster:
    """A connection to a running Dask scheduler.

    Args:
        address: Such as `tcp://10.0.0.1:8786`.

    Raises:
        DataMissingError: If `distributed` is not installed.
        InputError: If no scheduler answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise missing_extra("distributed", "cluster") from None
        try:
            self.client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"scheduler: got {address!r} ({error}); allowed: the address of a running Dask scheduler, "
                "such as tcp://127.0.0.1:8786"
            ) from error
        self._down_since: float | None = None

    def executor(self) -> Executor:
        """The cluster behind the standard interface; each call is a task of its own."""
        return self.client.get_executor(pure=False)

    def workers(self) -> int:
        """Number of task slots of the cluster."""
        return sum(self.client.nthreads().values())

    def healthy(self) -> bool:
        """False once the scheduler has been out of reach for a while."""
        if self.client.status == "running":
            self._down_since = None
            return True
        self._down_since = self._down_since or time.monotonic()
        return self.client.status != "closed" and time.monotonic() - self._down_since < GRACE_SECONDS

    def close(self) -> None:
        """Leaves the cluster running and ends the connection."""
        with suppress(Exception):  # the scheduler may be gone; there is nothing left to save
            self.client.close(timeout=2)


def connect(address: str) -> tuple[Executor, Callable[[], bool], int, Callable[[], None]]:
    """Executor, health check, number of slots and closing function of the cluster at `address`."""
    cluster = Cluster(address)
    return cluster.executor(), cluster.healthy, cluster.workers(), cluster.close
