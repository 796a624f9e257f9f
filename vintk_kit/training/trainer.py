"""The trainer: timm's task, optimizer and schedule; exact resume; one process or several."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch import distributed as dist

from vintk_kit.errors import InputError, NumericalError
from vintk_kit.manifest import bind_parameters, write_json
from vintk_kit.paths import run_folder
from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.training.checkpoint import last_checkpoint, load_checkpoint, save_checkpoint, save_weights
from vintk_kit.training.images import TrainingImages, derived_seed, seeded
from vintk_kit.training.models import add_drop_path, make_task, own_weights
from vintk_kit.training.recipe import Recipe, make_recipe


@dataclass
class TrainResult:
    """What a training left.

    Attributes:
        history: One row per epoch: epoch, train_loss, val_loss, val_accuracy, lr, images_per_second, seconds.
        accuracy: Best test accuracy in [0, 1]; NaN before the first epoch ends.
        folder: Run folder, or None.
        network: The trained network in evaluation mode (averaged weights if the recipe keeps them).
        interrupted: Whether it was stopped before its last epoch; the same call resumes it.
        params: Number of parameters.
    """

    history: pd.DataFrame
    accuracy: float
    folder: Path | None
    network: nn.Module
    interrupted: bool
    params: int


def train(
    space: str | SearchSpace,
    arch: Architecture,
    *,
    data: str = "photopatch",
    preset: str | Recipe = "smoke",
    run: str | Path | None = None,
    seed: int = 0,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: threading.Event | None = None,
    weights: Supernet | None = None,
    root: str | Path | None = None,
    device: str | None = None,
    **overrides: Any,
) -> TrainResult:
    """Trains an architecture.

    With a run, checkpoints go to `runs/<run>/training`, and the same call resumes from the last one; on a CPU the
    curve is then bit-identical to that of an uninterrupted training. Under torchrun every process calls this; the
    batch is split between them and the loss curve is that of one process up to rounding (with stochastic depth: in
    distribution only).

    Args:
        space: Search space.
        arch: Architecture.
        data: Data set with a train and a test split. The test split picks no hyperparameter here, but `accuracy` is
            its best epoch: compare architectures by `history.val_accuracy.iloc[-1]`.
        preset: `smoke`, `cifar`, `imagenet-deit`, or a Recipe.
        run: Run name; None writes nothing.
        seed: Decides initial weights, order, augmentation.
        on_epoch: Called with each row of the history, by the first process.
        stop: When set, saves a checkpoint and returns.
        weights: A (trained) supernet to start from; None draws initial weights from the seed.
        root: Folder of the data.
        device: Such as `cuda:0`; by default CUDA if present.
        overrides: Options of `Recipe`.

    Raises:
        InputError: For a wrong option or a data set, architecture or batch that do not fit.
        NumericalError: When the loss is NaN or infinite; the message names the last good checkpoint.
        StoreError: If the run was started with other parameters or a checkpoint is damaged.
    """
    space, recipe = get_space(space), make_recipe(preset, **overrides)
    arch = space.validate(arch)
    with _processes() as (rank, world), _stop_on_signal(stop or threading.Event()) as stop:
        size = recipe.image_size or space.image_size
        images = TrainingImages(data, recipe, size, seed, rank, world, root)
        network = space.build(arch, num_classes=len(images.classes), image_size=size, weights=weights, seed=seed)
        trainer = _Trainer(network, images, recipe, seed, _device(device, rank), rank, world)
        trainer.facts = {
            "space": space.name, "architecture": arch.to_json(), "num_classes": len(images.classes),
            "image_size": size, "classes": list(images.classes), "mean": images.mean, "std": images.std, "data": data,
            "seed": seed,
        }  # fmt: skip
        if run is not None:
            trainer.open(run, asdict(recipe) | {"supernet": weights is not None})
        return trainer.run(on_epoch, stop)


class _Trainer:
    def __init__(
        self, network: nn.Module, images: TrainingImages, recipe: Recipe, seed: int, device: torch.device, rank: int,
        world: int,
    ) -> None:  # fmt: skip
        from timm.optim import create_optimizer_v2
        from timm.scheduler import create_scheduler_v2

        self.images, self.recipe, self.seed, self.device = images, recipe, seed, device
        self.rank, self.world = rank, world
        self.facts: dict[str, Any] = {}
        self.folder: Path | None = None
        self.network = own_weights(network).to(device)
        if recipe.channels_last:
            self.network.to(memory_format=torch.channels_last)
        add_drop_path(self.network, recipe.drop_path)
        self.params = sum(parameter.numel() for parameter in self.network.parameters())
        self.task = make_task(self.network, images, recipe, device)
        self.optimizer = create_optimizer_v2(
            self.network, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        self.schedule, _ = create_scheduler_v2(
            self.optimizer, sched=recipe.sched, num_epochs=recipe.epochs, min_lr=recipe.min_lr,
            warmup_lr=recipe.warmup_lr, warmup_epochs=recipe.warmup_epochs, step_on_epochs=False,
            updates_per_epoch=images.steps,
        )  # fmt: skip
        if recipe.ema:
            self.task.setup_ema(decay=recipe.ema, use_warmup=True)
        if recipe.compile:
            self.task.compile()
        if world > 1:
            self.task.prepare_distributed(device_ids=[device.index] if device.type == "cuda" else None)
        self.mixup = self._make_mixup()
        self.epoch = self.step = 0
        self.loss_sum, self.history, self.best = 0.0, [], -1.0

    def _make_mixup(self) -> Any:
        from timm.data import Mixup

        if not self.recipe.mixup and not self.recipe.cutmix:
            return None
        return Mixup(
            self.recipe.mixup, self.recipe.cutmix, prob=self.recipe.mix_prob, label_smoothing=self.recipe.smoothing,
            num_classes=len(self.images.classes),
        )  # fmt: skip

    # ---- state --------------------------------------------------------------------------------------------------

    def open(self, run: str | Path, parameters: dict[str, Any]) -> None:
        """Binds the run folder and resumes from its last checkpoint."""
        root = run_folder(run)
        unimportant = ("workers", "checkpoint_minutes", "compile")
        recorded = {name: value for name, value in parameters.items() if name not in unimportant}
        if self.rank == 0:
            bind_parameters(root, "training", self.facts | recorded)
            write_json(root / "architecture.json", _architecture(self.facts))
        self.folder = root / "training"
        self.folder.mkdir(exist_ok=True)
        if self.world > 1:
            dist.barrier()
        found = last_checkpoint(self.folder)
        if found is not None:
            self._restore(found)

    def _restore(self, path: Path) -> None:
        saved = load_checkpoint(path)
        for prefix, module in self._modules().items():
            part = {n.removeprefix(prefix): t for n, t in saved.tensors.items() if n.startswith(prefix)}
            module.load_state_dict(part)
        self.optimizer.load_state_dict(saved.optimizer)
        progress = saved.progress
        self.epoch, self.step, self.best = progress["epoch"], progress["step"], progress["best"]
        self.loss_sum = progress["loss_sums"][self.rank] if self.world == len(progress["loss_sums"]) else 0.0
        self.history = progress["history"]
        self.schedule.step_update(self.epoch * self.images.steps + self.step)

    def _modules(self) -> dict[str, nn.Module]:
        found = {"model.": self.network}
        if self.task.has_ema():
            found["ema."] = self.task.get_trainable_module(ema=True).module
        return found

    def save(self) -> None:
        """A checkpoint by the first process."""
        if self.folder is None:
            return
        sums = [self.loss_sum]
        if self.world > 1:
            sums = [None] * self.world
            dist.all_gather_object(sums, self.loss_sum)
        if self.rank == 0:
            tensors = {p + n: t for p, m in self._modules().items() for n, t in m.state_dict().items()}
            progress = {
                "epoch": self.epoch, "step": self.step, "best": self.best, "loss_sums": sums, "history": self.history,
            }  # fmt: skip
            updates = self.epoch * self.images.steps + self.step
            save_checkpoint(self.folder, updates, tensors, self.optimizer.state_dict(), progress)

    # ---- loop ---------------------------------------------------------------------------------------------------

    def run(self, on_epoch: Callable[[dict[str, Any]], None] | None, stop: threading.Event) -> TrainResult:
        """Trains to the last epoch, or until `stop`."""
        interrupted = False
        self.saved_at = time.monotonic()
        while self.epoch < self.recipe.epochs:
            started, first = time.perf_counter(), self.step
            if not self._train_epoch(stop):
                interrupted = True
                self.save()
                break
            row = self._finish_epoch(time.perf_counter() - started, self.images.steps - first)
            if self.rank == 0 and on_epoch is not None:
                on_epoch(dict(row))
        history = pd.DataFrame(self.history)
        if self.rank == 0 and self.folder is not None and len(history):
            history.to_csv(self.folder / "history.csv", index=False)
        best = self.best if self.history else math.nan
        network = self._modules().get("ema.", self.network).eval()
        return TrainResult(history, best, self.folder and self.folder.parent, network, interrupted, self.params)

    def _train_epoch(self, stop: threading.Event) -> bool:
        """Runs the remaining steps of the epoch; False when asked to stop."""
        self.task.train()
        for step, images, labels in self.images.epoch(self.epoch, self.step):
            if self._agreed(stop.is_set()):
                return False
            self._train_step(step, images, labels)
            self.step = step + 1
            due = time.monotonic() - self.saved_at > 60 * self.recipe.checkpoint_minutes
            if self._agreed(due and self.step < self.images.steps):
                self.save()
                self.saved_at = time.monotonic()
        return True

    def _train_step(self, step: int, images: Tensor, labels: Tensor) -> None:
        from timm.utils import dispatch_clip_grad

        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.mixup is not None:
            with seeded(self.seed, self.epoch, step, 4):  # same draw in every process
                images, labels = self.mixup(images.clone(), labels)
        # Seeding each step makes what follows independent of how often the training was resumed.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derived_seed(self.seed, self.epoch, step, 5, self.rank))
            with self._autocast():
                loss = self.task(images, labels)["loss"]
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

    def _diverged(self, value: float, step: int) -> str:
        where = f"training: loss is {value} at epoch {self.epoch + 1}, step {step + 1}"
        found = None if self.folder is None else last_checkpoint(self.folder)
        kept = "no checkpoint was saved yet" if found is None else f"the last good checkpoint is {found}"
        return f"{where}; {kept}; allowed: a smaller lr, or clip_grad above 0"

    def _finish_epoch(self, seconds: float, steps: int) -> dict[str, Any]:
        total = self._summed(torch.tensor([self.loss_sum], dtype=torch.float64))
        correct, loss = self._validate()
        row = {
            "epoch": self.epoch + 1,
            "train_loss": float(total) / (self.images.steps * self.world),
            "val_loss": loss,
            "val_accuracy": correct,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": steps * self.recipe.batch_size / seconds,
            "seconds": seconds,
        }
        self.history.append(row)
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        if correct > self.best:
            self.best = correct
            if self.folder is not None and self.rank == 0:
                network = self._modules().get("ema.", self.network)
                save_weights(self.folder / "best.safetensors", network.state_dict(), self.facts | {"accuracy": correct})
        self.save()
        self.saved_at = time.monotonic()
        return row

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        network = self._modules().get("ema.", self.network)
        network.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        rows = torch.arange(self.rank, len(self.images.test), self.world)
        for part in rows.split(256):
            labels = self.images.test_labels[part].to(self.device)
            with self._autocast():
                logits = network(self.images.test[part].to(self.device))
            logits = logits.float()
            sums[0] += (logits.argmax(1) == labels).sum().item()
            sums[1] += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            sums[2] += len(part)
        correct, loss, count = self._summed(sums).tolist()
        return correct / count, loss / count

    def _autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def _summed(self, values: Tensor) -> Tensor:
        if self.world > 1:
            moved = values.to(self.device)
            dist.all_reduce(moved)
            return moved.cpu()
        return values

    def _agreed(self, flag: bool) -> bool:
        return bool(self._summed(torch.tensor([float(flag)])) > 0) if self.world > 1 else flag


def _architecture(facts: dict[str, Any]) -> dict[str, Any]:
    import json

    return json.loads(facts["architecture"])


def _device(device: str | None, rank: int) -> torch.device:
    if device is None:
        local = int(os.environ.get("LOCAL_RANK", rank))
        return torch.device(f"cuda:{local}" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device: got {device!r}; allowed: cpu, cuda or cuda:N") from error


@contextlib.contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """Rank and number of processes; joins the group that torchrun announces in the environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        if ours:
            dist.destroy_process_group()


@contextlib.contextmanager
def _stop_on_signal(stop: threading.Event) -> Iterator[threading.Event]:
    """SIGTERM sets `stop`, so that the training saves and returns; only the main thread can ask for signals."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
