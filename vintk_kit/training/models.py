"""Networks for training: own weights, stochastic depth, optimizer, task with or without a teacher, trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from vintk_kit.errors import InputError, StoreError, bad_value
from vintk_kit.paths import run_folder
from vintk_kit.spaces import Architecture, get_space
from vintk_kit.training.checkpoint import load_weights

if TYPE_CHECKING:
    from timm.task import TrainingTask

    from vintk_kit.training.images import TrainingImages
    from vintk_kit.training.recipe import Recipe


def own_weights(network: nn.Module) -> nn.Module:
    """Replaces views of shared weights by copies, so that training leaves the supernet alone."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().clone().contiguous())
    return network


def add_drop_path(network: nn.Module, rate: float) -> None:
    """Gives the blocks stochastic depth, growing linearly from 0 to `rate`.

    Raises:
        InputError: If the rate is positive and no block has a place for it.
    """
    if not rate:
        return
    from timm.layers import DropPath

    names = ("drop_path1", "drop_path2", "drop_path")
    blocks = [module for module in network.modules() if any(name in module._modules for name in names)]
    if not blocks:
        raise InputError(f"drop_path: got {rate}; allowed: 0 for this network, whose blocks have no stochastic depth")
    for index, block in enumerate(blocks):
        for name in names:
            if name in block._modules:
                setattr(block, name, DropPath(rate * index / max(1, len(blocks) - 1)))


def make_optimizer(network: nn.Module, recipe: Recipe, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """timm's optimizer and its schedule, which is stepped once an update; `steps` are the updates of an epoch."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    optimizer = create_optimizer_v2(network, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule, _ = create_scheduler_v2(
        optimizer, sched=recipe.sched, num_epochs=recipe.epochs, min_lr=recipe.min_lr, warmup_lr=recipe.warmup_lr,
        warmup_epochs=recipe.warmup_epochs, step_on_epochs=False, updates_per_epoch=steps,
    )  # fmt: skip
    return optimizer, schedule


def make_mixup(recipe: Recipe, num_classes: int) -> Any:
    """timm's mixup and cutmix, or None if the recipe has neither."""
    from timm.data import Mixup

    if not recipe.mixup and not recipe.cutmix:
        return None
    return Mixup(
        recipe.mixup, recipe.cutmix, prob=recipe.mix_prob, label_smoothing=recipe.smoothing, num_classes=num_classes
    )


def make_task(network: nn.Module, images: TrainingImages, recipe: Recipe, device: torch.device) -> TrainingTask:
    """timm's classification task, or its distillation task if the recipe names a teacher."""
    from timm.loss import SoftTargetCrossEntropy
    from timm.task import ClassificationTask, LogitDistillationTask

    if recipe.mixup or recipe.cutmix:
        criterion: nn.Module = SoftTargetCrossEntropy()
    else:
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    if not recipe.teacher:
        return ClassificationTask(network, criterion=criterion, device=device, verbose=False)
    _describe(network, len(images.classes), images.mean, images.std)
    return LogitDistillationTask(
        network,
        _teacher(recipe, len(images.classes)).to(device),
        criterion=criterion,
        task_loss_weight=1 - recipe.distill_weight,
        distill_loss_weight=recipe.distill_weight,
        temperature=recipe.temperature,
        device=device,
        verbose=False,
    )


def _describe(network: nn.Module, num_classes: int, mean: Any, std: Any) -> nn.Module:
    # The attributes by which timm knows how a model wants its input.
    network.num_classes, network.in_chans = num_classes, 3
    network.pretrained_cfg = {"mean": tuple(mean), "std": tuple(std)}
    return network


def _teacher(recipe: Recipe, num_classes: int) -> Any:
    import timm
    from timm.task import DistillationTeacher

    if timm.is_model(recipe.teacher):
        if not Path(recipe.teacher_weights).is_file():
            raise bad_value("teacher_weights", recipe.teacher_weights, f"a file of trained weights of {recipe.teacher}")
        try:
            return DistillationTeacher(recipe.teacher, num_classes=num_classes, pretrained_path=recipe.teacher_weights)
        except (RuntimeError, SafetensorError, OSError) as error:
            wanted = f"weights of {recipe.teacher} for {num_classes} classes ({error})"
            raise bad_value("teacher_weights", recipe.teacher_weights, wanted) from error
    try:
        network, facts = load_trained(recipe.teacher)
    except StoreError as error:
        raise bad_value("teacher", recipe.teacher, f"a timm model name, or a finished run ({error})") from error
    if facts["num_classes"] != num_classes:
        raise InputError(f"teacher: got {facts['num_classes']} classes; the data set has {num_classes}")
    return DistillationTeacher(_describe(network, num_classes, facts["mean"], facts["std"]))


def load_trained(run: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The best network of a training, in evaluation mode, and its facts.

    Args:
        run: Run name, run folder, or a file of weights.

    Returns:
        The network, and a dict with space, architecture, num_classes, image_size, classes, mean, std, data, and the
        epoch and val_accuracy of the weights.

    Raises:
        StoreError: If there is no finished epoch, or the file is damaged or of another architecture.
    """
    path = Path(run)
    if path.suffix != ".safetensors":
        path = run_folder(run, create=False) / "training" / "best.safetensors"
    tensors, facts = load_weights(path)
    space = get_space(facts["space"])
    network = own_weights(
        space.build(
            Architecture.from_json(facts["architecture"]),
            num_classes=facts["num_classes"],
            image_size=facts["image_size"],
        )
    )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise StoreError(f"{path}: weights do not fit the architecture ({error})") from error
    return network.eval(), facts
