"""Recipes: every number of a training in one typed object, three presets, and checked overrides."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from vintk_kit.errors import bad_value, one_of


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    The defaults are those of DeiT (Touvron et al., ICML 2021, Table 9) at batch size 1024, but for repeated
    augmentation, which only the preset `imagenet-deit` turns on, and for the validation split.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Images per step, over all processes together.
        lr: Peak learning rate, for this batch size (DeiT: 5e-4 · batch size / 512).
        min_lr: Last learning rate.
        warmup_lr: First learning rate.
        warmup_epochs: Epochs of linear warm-up.
        weight_decay: Decoupled, not on biases, norms and other vectors.
        opt: Optimizer of `timm.optim.create_optimizer_v2`.
        sched: Schedule of `timm.scheduler.create_scheduler_v2`.
        clip_grad: Largest gradient norm; 0 does not clip.
        smoothing: Label smoothing.
        mixup: Alpha of mixup; 0 turns it off.
        cutmix: Alpha of cutmix; 0 turns it off.
        mix_prob: Chance that a batch is mixed.
        auto_augment: timm's RandAugment policy; "" leaves mirrors and small shifts only.
        crop_scale: Smallest area of a random resized crop (with `auto_augment`).
        color_jitter: Strength of colour jitter, unused where a policy changes colours itself.
        random_erase: Chance of erasing a rectangle.
        repeated_augment: Copies of an image in one batch, each augmented anew; an epoch then sees so much fewer
            images. 1 turns it off, DeiT takes 3.
        val_fraction: Share of the train split that is held out to choose the kept epoch; 0 trains on everything and
            keeps the last epoch. Images are held out at random: where they overlap, as in `photopatch` and
            `bluemarble`, what is measured on them is better than on the test split.
        drop_path: Stochastic depth of the last block; earlier blocks less, linearly.
        ema: Decay of the averaged weights, which are then the ones evaluated; 0 keeps none.
        precision: "float32", or "bfloat16" autocast (CUDA, and CPUs with bfloat16 instructions).
        compile: Uses `torch.compile`.
        channels_last: Keeps images in channels-last memory (helps convolutional networks on GPUs).
        image_size: Side of the input; 0 takes the space's.
        workers: Loader processes with `auto_augment`; 0 augments in the training process.
        checkpoint_minutes: A checkpoint at least so often; every epoch saves one too.
        teacher: Distillation: a timm model name, or the folder of a finished training; "" none.
        teacher_weights: File of weights for a timm teacher.
        distill_weight: Share of the distillation loss.
        temperature: Temperature of the distillation.
    """

    epochs: int = 300
    batch_size: int = 1024
    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_epochs: float = 5.0
    weight_decay: float = 0.05
    opt: str = "adamw"
    sched: str = "cosine"
    clip_grad: float = 0.0
    smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_prob: float = 1.0
    auto_augment: str = "rand-m9-mstd0.5-inc1"
    crop_scale: float = 0.08
    color_jitter: float = 0.3
    random_erase: float = 0.25
    repeated_augment: int = 1
    val_fraction: float = 0.1
    drop_path: float = 0.1
    ema: float = 0.99996
    precision: str = "float32"
    compile: bool = False
    channels_last: bool = False
    image_size: int = 0
    workers: int = 0
    checkpoint_minutes: float = 10.0
    teacher: str = ""
    teacher_weights: str = ""
    distill_weight: float = 0.5
    temperature: float = 3.0


PRESETS: dict[str, Recipe] = {
    "smoke": Recipe(
        epochs=4, batch_size=128, lr=2e-3, warmup_epochs=0.5, clip_grad=1.0, mixup=0.0, cutmix=0.0, auto_augment="",
        random_erase=0.0, drop_path=0.0, ema=0.0,
    ),
    "cifar": Recipe(
        epochs=200, batch_size=128, lr=1e-3, warmup_epochs=10.0, clip_grad=1.0, crop_scale=0.5, ema=0.999, workers=2,
    ),
    "imagenet-deit": Recipe(precision="bfloat16", workers=8, repeated_augment=3, val_fraction=0.01),
}  # fmt: skip
"""Presets by name: `smoke` (a small network on a CPU in two minutes), `cifar`, `imagenet-deit`.

`imagenet-deit` has DeiT's numbers but holds out a hundredth of the train split, and evaluates the whole central square
of an image where DeiT cuts 0.875 of it. It has not been run on ImageNet."""

RANGES = {
    "epochs": (1, None), "batch_size": (2, None), "lr": (0, None), "min_lr": (0, None), "warmup_lr": (0, None),
    "warmup_epochs": (0, None), "weight_decay": (0, None), "clip_grad": (0, None), "smoothing": (0, 0.99),
    "mixup": (0, None), "cutmix": (0, None), "mix_prob": (0, 1), "crop_scale": (0, 1), "color_jitter": (0, None),
    "random_erase": (0, 1), "repeated_augment": (1, None), "val_fraction": (0, 0.5), "drop_path": (0, 0.99),
    "ema": (0, 0.9999999), "image_size": (0, None), "workers": (0, None), "checkpoint_minutes": (0, None),
    "distill_weight": (0, 1), "temperature": (1e-6, None),
}  # fmt: skip
"""Smallest and largest value of each option that has limits."""


AnyRecipe = typing.TypeVar("AnyRecipe", bound=Recipe)


def make_recipe(preset: str | Recipe = "smoke", **options: Any) -> Recipe:
    """A preset with options replaced.

    Raises:
        InputError: For an unknown preset or option (the message lists the allowed ones), a wrong type, or a value
            out of range.
    """
    recipe = preset if isinstance(preset, Recipe) else PRESETS[one_of("preset", preset, PRESETS)]
    return replaced(recipe, options, typing.get_type_hints(Recipe), RANGES)


def replaced(
    recipe: AnyRecipe,
    options: dict[str, Any],
    kinds: dict[str, type],
    ranges: dict[str, tuple[float | None, float | None]],
) -> AnyRecipe:
    """A recipe with options replaced, each checked against its type and range.

    Raises:
        InputError: As `make_recipe`.
    """
    checked = {
        name: _typed(name, value, kinds[one_of("training option", name, kinds)], ranges.get(name, (None, None)))
        for name, value in options.items()
    }
    recipe = replace(recipe, **checked)
    one_of("precision", recipe.precision, ("float32", "bfloat16"))
    if recipe.batch_size % 2:
        raise bad_value("batch_size", recipe.batch_size, "an even number")
    return recipe


def _typed(name: str, value: Any, kind: type, limits: tuple[float | None, float | None]) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise bad_value(name, value, kind.__name__)
    low, high = limits
    if (low is not None and not value >= low) or (high is not None and value > high):
        raise bad_value(name, value, f"at least {low}" + ("" if high is None else f" and at most {high}"))
    return value


def parse_options(pairs: Iterable[str], kinds: dict[str, type] | None = None) -> dict[str, Any]:
    """Reads `name=value` texts.

    Args:
        pairs: The texts.
        kinds: Types by name; by default those of `Recipe`.

    Raises:
        InputError: If a text has no `=`, the name is unknown or the value does not read as its type.
    """
    kinds, found = kinds or typing.get_type_hints(Recipe), {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise bad_value("option", pair, "name=value")
        found[name] = _read(name, text, kinds[one_of("training option", name, kinds)])
    return found


def _read(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        return one_of(name, text.lower(), ("true", "false")) == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise bad_value(name, text, kind.__name__) from error
