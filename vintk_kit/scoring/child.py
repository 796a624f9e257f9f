"""The main program of a worker process: receives calls over a socket, sends back values or exceptions."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any


def _watch(parent: int) -> None:
    """Ends this process when its parent is gone, even in the middle of a task."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os._exit(1)


def _answer(connection: Connection, task: tuple) -> None:
    function, arguments, options = task
    try:
        answer: tuple[bool, Any] = (True, function(*arguments, **options))
    except Exception as error:
        answer = (False, error)
    try:
        content = pickle.dumps(answer)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        content = pickle.dumps((False, RuntimeError(f"{answer[1]!r} cannot be sent back ({error})")))
    connection.send_bytes(content)


def main(descriptor: int, parent: int) -> None:
    """Serves calls until the other end closes. The first call is the set-up.

    Args:
        descriptor: Inherited socket.
        parent: Process id of the pool's process; this process ends with it.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    connection = Connection(descriptor)
    try:
        while True:
            _answer(connection, pickle.loads(connection.recv_bytes()))
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
