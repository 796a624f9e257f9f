"""One process or several: who takes part, sums over all of them, and a stop on which all agree."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from vintk_kit.errors import InputError


@dataclass(frozen=True)
class Processes:
    """The processes of a training, seen from one of them.

    Attributes:
        device: Where this process computes.
        rank: Its number.
        world: How many there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes, on the CPU."""
        if self.world == 1:
            return values
        moved = values.to(self.device)
        dist.all_reduce(moved)
        return moved.cpu()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in at least one process."""
        return bool(self.total(torch.tensor([float(flag)])) > 0) if self.world > 1 else flag

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Returns once all processes have come here."""
        if self.world > 1:
            dist.barrier()


@contextlib.contextmanager
def joined(device: str | None = None) -> Iterator[Processes]:
    """Joins the group that torchrun announces in the environment, if there is one.

    Args:
        device: Such as `cuda:0`; by default CUDA if present, one device per process of a machine.

    Raises:
        InputError: If there is no such device.
    """
    chosen, world = _device(device), int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(chosen)
        return
    ours = not dist.is_initialized()
    if ours:
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()


def _device(device: str | None) -> torch.device:
    if device is None:
        place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        return torch.device(place if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device: got {device!r}; allowed: cpu, cuda or cuda:N") from error


@contextlib.contextmanager
def stop_on_signal(stop: threading.Event) -> Iterator[None]:
    """SIGTERM sets `stop`, so that a training saves and returns; only the main thread can ask for signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
