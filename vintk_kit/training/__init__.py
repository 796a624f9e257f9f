"""Training of classifiers: quick trainings for tables, the full recipe, supernets, evaluation and export."""

from __future__ import annotations

from vintk_kit.training.quick import train_many, train_quick

__all__ = ["train_many", "train_quick"]
