"""The loop that classification and dense training share: steps, validation, exact resume, one test at the end."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from vintk_kit.errors import NumericalError
from vintk_kit.manifest import bind_parameters, write_json
from vintk_kit.paths import run_folder
from vintk_kit.training.checkpoint import (
    last_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from vintk_kit.training.models import add_drop_path, make_mixup, make_optimizer, own_weights
from vintk_kit.training.processes import Processes, joined, stop_on_signal
from vintk_kit.training.randomness import derived_seed, seeded
from vintk_kit.training.recipe import Recipe
from vintk_kit.training.result import TrainResult

if TYPE_CHECKING:
    from timm.task import TrainingTask

OnEpoch = Callable[[dict[str, Any]], None]


class Batches(Protocol):
    """What a loop trains on."""

    classes: tuple[str, ...]
    steps: int

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Step, images and targets of this process, from step `start` of an epoch on."""


class Loop:
    """A training. Subclasses say what the loss is and what is measured.

    Args:
        network: Network to train; its weights are copied first.
        images: Training batches.
        recipe: Recipe.
        seed: Of augmentation and stochastic depth.
        processes: Who takes part.
        facts: JSON values that are written beside the weights and tell how to build the network again.
    """

    metrics: tuple[str, ...] = ("loss", "accuracy")
    """What `measure` returns."""
    chosen_by = "accuracy"
    """The metric whose largest value on the validation split decides which epoch is kept."""

    def __init__(
        self, network: nn.Module, images: Batches, recipe: Recipe, seed: int, processes: Processes,
        facts: dict[str, Any],
    ) -> None:  # fmt: skip
        self.images, self.recipe, self.seed, self.processes, self.facts = images, recipe, seed, processes, facts
        self.device = processes.device
        self.network = own_weights(network).to(self.device)
        if recipe.channels_last:
            self.network.to(memory_format=torch.channels_last)
        add_drop_path(self.network, recipe.drop_path)
        self.params = sum(parameter.numel() for parameter in self.network.parameters())
        self.task = self.make_task()
        self.optimizer, self.schedule = make_optimizer(self.network, recipe, images.steps)
        if recipe.ema:
            self.task.setup_ema(decay=recipe.ema, use_warmup=True)
        if recipe.compile:
            self.task.compile()
        if processes.world > 1:
            self.task.prepare_distributed(device_ids=[self.device.index] if self.device.type == "cuda" else None)
        self.mixup = make_mixup(recipe, len(images.classes))
        self.folder: Path | None = None
        self.epoch = self.step = self.kept_epoch = 0
        self.loss_sum, self.history, self.kept_value = 0.0, [], -1.0
        self._kept: dict[str, Tensor] | None = None

    def make_task(self) -> TrainingTask:
        """timm's task: the network with its loss."""
        raise NotImplementedError

    def measure(self, split: str) -> dict[str, float]:
        """The metrics of `self.evaluated` on the split `val` or `test`, all processes together."""
        raise NotImplementedError

    @property
    def evaluated(self) -> nn.Module:
        """The network that is measured and kept: that of the averaged weights if there are any."""
        return self._modules().get("ema.", self.network)

    # ---- state --------------------------------------------------------------------------------------------------

    def open(self, run: str | Path, **more: Any) -> None:
        """Binds a run folder to the recipe, the facts and `more`, and resumes from its last checkpoint."""
        root = run_folder(run)
        unimportant = ("workers", "checkpoint_minutes", "compile")
        recorded = {name: value for name, value in asdict(self.recipe).items() if name not in unimportant}
        if self.processes.rank == 0:
            bind_parameters(root, "training", self.facts | recorded | more)
            write_json(root / "architecture.json", json.loads(self.facts["architecture"]))
        self.folder = root / "training"
        self.folder.mkdir(exist_ok=True)
        self.processes.wait()
        found = last_checkpoint(self.folder)
        if found is not None:
            self._restore(found)

    def _restore(self, path: Path) -> None:
        saved = load_checkpoint(path)
        for prefix, module in self._modules().items():
            part = {n.removeprefix(prefix): t for n, t in saved.tensors.items() if n.startswith(prefix)}
            module.load_state_dict(part)
        self.optimizer.load_state_dict(saved.optimizer)
        progress, world = saved.progress, self.processes.world
        self.epoch, self.step, self.history = progress["epoch"], progress["step"], progress["history"]
        self.kept_epoch, self.kept_value = progress["kept_epoch"], progress["kept_value"]
        sums = progress["loss_sums"]
        self.loss_sum = sums[self.processes.rank] if world == len(sums) else 0.0
        self.schedule.step_update(self._updates)

    @property
    def _updates(self) -> int:
        return self.epoch * self.images.steps + self.step

    def _modules(self) -> dict[str, nn.Module]:
        found = {"model.": self.network}
        if self.task.has_ema():
            found["ema."] = self.task.get_trainable_module(ema=True).module
        return found

    def save(self) -> None:
        """A checkpoint by the first process."""
        self.saved_at = time.monotonic()
        if self.folder is None:
            return
        sums = self.processes.gather(self.loss_sum)
        if self.processes.rank == 0:
            tensors = {p + n: t for p, m in self._modules().items() for n, t in m.state_dict().items()}
            progress = {
                "epoch": self.epoch, "step": self.step, "loss_sums": sums, "history": self.history,
                "kept_epoch": self.kept_epoch, "kept_value": self.kept_value,
            }  # fmt: skip
            save_checkpoint(self.folder, self._updates, tensors, self.optimizer.state_dict(), progress)

    # ---- steps --------------------------------------------------------------------------------------------------

    def run(self, on_epoch: OnEpoch | None, stop: threading.Event) -> TrainResult:
        """Trains to the last epoch and tests, or until `stop`."""
        interrupted, self.saved_at = False, time.monotonic()
        while self.epoch < self.recipe.epochs and not interrupted:
            started, first = time.perf_counter(), self.step
            if not self._train_epoch(stop):
                interrupted = True
                self.save()
                break
            row = self._finish_epoch(time.perf_counter() - started, self.images.steps - first)
            if self.processes.rank == 0 and on_epoch is not None:
                on_epoch(dict(row))
        history = pd.DataFrame(self.history)
        if self.processes.rank == 0 and self.folder is not None and len(history):
            history.to_csv(self.folder / "history.csv", index=False)
        test = {} if interrupted else self._test()
        accuracy = test["kept"][self.chosen_by] if test else math.nan
        measured = [name for name in history if name.startswith("val_")]
        history = history.astype(dict.fromkeys(measured, float))
        folder = self.folder and self.folder.parent
        return TrainResult(history, accuracy, test, folder, self.evaluated.eval(), interrupted, self.params)

    def _train_epoch(self, stop: threading.Event) -> bool:
        """Runs the remaining steps of the epoch; False when asked to stop."""
        self.task.train()
        for step, images, targets in self.images.epoch(self.epoch, self.step):
            if self.processes.any(stop.is_set()):
                return False
            self._train_step(step, images, targets)
            self.step = step + 1
            due = time.monotonic() - self.saved_at > 60 * self.recipe.checkpoint_minutes
            if self.processes.any(due and self.step < self.images.steps):
                self.save()
        return True

    def _train_step(self, step: int, images: Tensor, targets: Tensor) -> None:
        from timm.utils import dispatch_clip_grad

        images, targets = images.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.mixup is not None:
            with seeded(self.seed, self.epoch, step, 4):  # same draw in every process
                images, targets = self.mixup(images.clone(), targets)
        # Seeding each step makes what follows independent of how often the training was resumed.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derived_seed(self.seed, self.epoch, step, 5, self.processes.rank))
            with self.autocast():
                loss = self.task(images, targets)["loss"]
        value = loss.item()
        if not math.isfinite(value):
            raise NumericalError(self._diverged(value, step))
        self.loss_sum += value
        self.optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip_grad:
            dispatch_clip_grad(self.network.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        updates = self.epoch * self.images.steps + step + 1
        self.task.update_ema(step=updates)
        self.schedule.step_update(updates)

    def autocast(self) -> contextlib.AbstractContextManager:
        """The recipe's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def _diverged(self, value: float, step: int) -> str:
        where = f"training: loss is {value} at epoch {self.epoch + 1}, step {step + 1}"
        found = None if self.folder is None else last_checkpoint(self.folder)
        kept = "no checkpoint was saved yet" if found is None else f"the last good checkpoint is {found}"
        return f"{where}; {kept}; allowed: a smaller lr, or clip_grad above 0"

    # ---- measuring ----------------------------------------------------------------------------------------------

    def _finish_epoch(self, seconds: float, steps: int) -> dict[str, Any]:
        total = self.processes.total(torch.tensor([self.loss_sum], dtype=torch.float64))
        found = self.measure("val") if self.recipe.val_fraction else dict.fromkeys(self.metrics)
        row = {
            "epoch": self.epoch + 1,
            "train_loss": float(total) / (self.images.steps * self.processes.world),
            **{f"val_{name}": found[name] for name in self.metrics},
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": steps * self.recipe.batch_size / seconds,
            "seconds": seconds,
        }
        self.history.append(row)
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        self._keep_if_best(found[self.chosen_by])
        self.save()
        return row

    def _keep_if_best(self, value: float | None) -> None:
        """Keeps the weights of an epoch that is the best on the validation split; without one, of every epoch."""
        if value is not None and self.kept_epoch and not value > self.kept_value:
            return
        self.kept_epoch = self.epoch
        self.kept_value = -1.0 if value is None or math.isnan(value) else value
        tensors = self.evaluated.state_dict()
        if self.folder is None:  # needed only if a later epoch can be worse
            self._kept = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        elif self.processes.rank == 0:
            facts = self.facts | {"epoch": self.epoch, f"val_{self.chosen_by}": value}
            save_weights(self.folder / "best.safetensors", tensors, facts)

    def _test(self) -> dict[str, dict[str, float]]:
        """Measures the test split with the last and the kept network; a finished run is not measured again."""
        file = None if self.folder is None else self.folder / "test.json"
        if file is not None and file.is_file():
            return json.loads(file.read_text())
        last = kept = {"epoch": self.epoch, **self.measure("test")}
        if self.kept_epoch != self.epoch:
            kept = {"epoch": self.kept_epoch, **self._measure_kept()}
        if self.processes.rank == 0 and file is not None:
            write_json(file, {"kept": kept, "last": last})
        return {"kept": kept, "last": last}

    def _measure_kept(self) -> dict[str, float]:
        network, file = self.evaluated, self.folder and self.folder / "best.safetensors"
        last = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self._kept if file is None else load_weights(file)[0])
        try:
            return self.measure("test")
        finally:
            network.load_state_dict(last)


def run_loop(
    make: Callable[[Processes], Loop], *, run: str | Path | None, device: str | None, on_epoch: OnEpoch | None,
    stop: threading.Event | None, **parameters: Any,
) -> TrainResult:  # fmt: skip
    """Joins the processes, makes the loop, resumes its run and trains.

    Args:
        make: Makes the loop for this process.
        run: Run name; None writes nothing.
        device: As in `joined`.
        on_epoch: Called with each row of the history, by the first process.
        stop: Ends the training after the present step, as SIGTERM does.
        parameters: Further JSON values that decide the result; a run that was started with others is refused.
    """
    stop = stop or threading.Event()
    with joined(device) as processes, stop_on_signal(stop):
        loop = make(processes)
        if run is not None:
            loop.open(run, **parameters)
        return loop.run(on_epoch, stop)
