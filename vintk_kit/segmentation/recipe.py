"""Recipes of dense training: those of classification, with crops, scales and a decoder."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vintk_kit.errors import InputError, bad_value, one_of
from vintk_kit.segmentation.models import DECODERS
from vintk_kit.segmentation.network import COARSEST
from vintk_kit.training.recipe import RANGES, Recipe, parse_options, replaced

UNUSED = ("mixup", "cutmix", "mix_prob", "auto_augment", "crop_scale", "random_erase", "repeated_augment",
          "image_size", "teacher", "teacher_weights", "distill_weight", "temperature")  # fmt: skip
"""Options of `Recipe` that have no meaning for masks here."""


@dataclass(frozen=True)
class DenseRecipe(Recipe):
    """A recipe of dense training. Options as in `Recipe`, but those for whole-image labels.

    Attributes:
        decoder: linear, fcn, segformer or upernet.
        crop_height: Height of training crops, a multiple of 32.
        crop_width: Width of training crops.
        scale_min: Smallest factor of random resizing.
        scale_max: Largest factor; 1 and 1 turn it off.
        eval_images: At most so many images are measured, evenly spaced: of the validation split after each epoch, of
            the test split at the end; 0 takes all.
    """

    epochs: int = 100
    batch_size: int = 16
    lr: float = 6e-4
    warmup_epochs: float = 5.0
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    auto_augment: str = ""
    random_erase: float = 0.0
    ema: float = 0.0
    clip_grad: float = 1.0
    decoder: str = "segformer"
    crop_height: int = 512
    crop_width: int = 512
    scale_min: float = 0.5
    scale_max: float = 2.0
    eval_images: int = 0

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self.crop_height, self.crop_width


DENSE_PRESETS: dict[str, DenseRecipe] = {
    "smoke": DenseRecipe(
        epochs=3, lr=2e-3, warmup_epochs=0.5, drop_path=0.0, decoder="linear", crop_height=64, crop_width=64,
        scale_min=1.0, scale_max=1.0, color_jitter=0.0,
    ),
    "bluemarble": DenseRecipe(
        epochs=60, lr=2e-3, warmup_epochs=3.0, decoder="linear", crop_height=128, crop_width=128, scale_min=1.0,
        scale_max=1.5, color_jitter=0.1, ema=0.99,
    ),
    "cityscapes": DenseRecipe(
        epochs=430, batch_size=8, crop_width=1024, precision="bfloat16", workers=8, ema=0.999, val_fraction=0.0,
    ),
    "ade20k": DenseRecipe(epochs=127, precision="bfloat16", workers=8, ema=0.999, val_fraction=0.0),
}  # fmt: skip
"""Presets by name. `smoke` is for a CPU. `cityscapes` and `ade20k` have the usual crops and about 160,000 steps, train
on everything and keep the last epoch; they are starting points that have not been run."""

_RANGES = RANGES | {
    "color_jitter": (0, 1), "crop_height": (COARSEST, None), "crop_width": (COARSEST, None), "scale_min": (0.1, 10),
    "scale_max": (0.1, 10), "eval_images": (0, None),
}  # fmt: skip


def dense_options() -> dict[str, type]:
    """Names and types of all options."""
    return {name: kind for name, kind in typing.get_type_hints(DenseRecipe).items() if name not in UNUSED}


def make_dense_recipe(preset: str | DenseRecipe = "smoke", **options: Any) -> DenseRecipe:
    """A preset with options replaced.

    Raises:
        InputError: For an unknown preset or option, a wrong type, or a value out of range.
    """
    recipe = preset if isinstance(preset, DenseRecipe) else DENSE_PRESETS[one_of("preset", preset, DENSE_PRESETS)]
    recipe = replaced(recipe, options, dense_options(), _RANGES)
    one_of("decoder", recipe.decoder, DECODERS)
    if recipe.crop_height % COARSEST or recipe.crop_width % COARSEST:
        raise bad_value("crop", recipe.crop, f"multiples of {COARSEST}")
    if recipe.scale_min > recipe.scale_max:
        raise InputError(f"scale_min: got {recipe.scale_min}; allowed: at most scale_max, {recipe.scale_max}")
    return recipe


def parse_dense_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Reads `name=value` texts with the types of `DenseRecipe`.

    Raises:
        InputError: If a text has no `=`, the name is unknown or the value does not read as its type.
    """
    return parse_options(pairs, dense_options())
