"""Training of classifiers: quick trainings for tables, the full recipe, supernets, evaluation and export.

Example:
    >>> result = train("microvit-32", architecture, data="photopatch", preset="smoke", run="winner")
    >>> result.history
"""

from __future__ import annotations

import vintk_kit.training.registry  # noqa: F401  (the import fills timm's registry)
from vintk_kit.training.contest import Contest, contest
from vintk_kit.training.models import load_trained
from vintk_kit.training.quick import train_many, train_quick
from vintk_kit.training.recipe import PRESETS, Recipe, make_recipe
from vintk_kit.training.result import TrainResult
from vintk_kit.training.trainer import train

__all__ = [
    "PRESETS",
    "Contest",
    "Recipe",
    "TrainResult",
    "contest",
    "load_trained",
    "make_recipe",
    "train",
    "train_many",
    "train_quick",
]
