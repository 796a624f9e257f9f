"""One epoch of every preset on a miniature of its data; loader processes; what chooses the kept epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vintk_kit.segmentation import DENSE_PRESETS, evaluate_dense, load_pairs, make_dense_recipe, train_dense
from vintk_kit.segmentation import trainer as dense
from vintk_kit.segmentation.trainer import DenseLoop
from vintk_kit.spaces import get_space

SPACE = get_space("hybrid-hr")
ARCH = SPACE.smallest()
SMALL = {"epochs": 1, "batch_size": 2, "crop_height": 32, "workers": 0}
MEASURED = ["train_loss", "val_loss", "val_miou", "val_accuracy"]


def check(folder: Path, root: Path | None, preset: str, **options):
    result = train_dense(SPACE, ARCH, data=preset, preset=preset, root=root, run=folder, **SMALL | options)
    kept = result.test["kept"]
    assert np.isfinite(list(kept.values())).all()
    assert np.isfinite(result.history["train_loss"]).all()
    assert result.history["val_loss"].notna().all() == (make_dense_recipe(preset).val_fraction > 0)
    return result


def test_bluemarble(tmp_path, monkeypatch):
    def few(name: str, *, root=None, split="train"):
        return load_pairs(name, root=root, split=split).subset(range(20 if split == "train" else 3))

    monkeypatch.setattr(dense, "load_pairs", few)
    result = check(tmp_path / "run", None, "bluemarble", crop_width=32)
    assert result.history["val_miou"].iloc[0] >= 0
    assert evaluate_dense(tmp_path / "run").miou == pytest.approx(result.accuracy, rel=1e-3)


def test_cityscapes(cityscapes_folder, tmp_path):
    result = check(tmp_path / "run", cityscapes_folder, "cityscapes", crop_width=64)
    found = evaluate_dense(tmp_path / "run", root=cityscapes_folder)
    assert len(found.table) == 19
    assert found.loss == pytest.approx(result.test["kept"]["loss"], rel=0.05)  # trained in bfloat16


def test_ade20k(ade_folder, tmp_path):
    check(tmp_path / "run", ade_folder, "ade20k", crop_width=32)
    assert len(evaluate_dense(tmp_path / "run", root=ade_folder).table) == 150


def test_every_preset_is_tried():
    assert set(DENSE_PRESETS) == {"smoke", "bluemarble", "cityscapes", "ade20k"}


@pytest.mark.slow
def test_loader_processes_change_nothing(voc_folder):
    options = {"data": "voc", "root": voc_folder, **SMALL, "crop_width": 32, "color_jitter": 0.2, "scale_max": 1.5}
    alone, helped = (train_dense(SPACE, ARCH, **options | {"workers": workers}) for workers in (0, 2))
    assert helped.history[MEASURED].equals(alone.history[MEASURED])


def test_validation_chooses_the_kept_epoch(voc_folder, tmp_path, monkeypatch):
    seen, real = [], DenseLoop.measure

    def measure(loop: DenseLoop, split: str) -> dict[str, float]:
        seen.append((split, len(loop.splits[split])))
        found = real(loop, split)
        return found | {"miou": 1 / (1 + loop.epoch)} if split == "val" else found

    monkeypatch.setattr(DenseLoop, "measure", measure)
    options = {"data": "voc", "root": voc_folder, **SMALL, "crop_width": 32, "epochs": 2, "val_fraction": 0.25}
    result = train_dense(SPACE, ARCH, run=tmp_path / "run", **options)
    assert seen == [("val", 2)] * 2 + [("test", 2)] * 2
    assert result.test["kept"]["epoch"] == 1
    assert evaluate_dense(tmp_path / "run", root=voc_folder).miou == pytest.approx(result.accuracy)
