"""What chooses the kept epoch, and that the test split is measured once, at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from vintk_kit.errors import InputError
from vintk_kit.spaces import get_space
from vintk_kit.training import make_recipe, train
from vintk_kit.training.evaluate import evaluate
from vintk_kit.training.images import TrainingImages
from vintk_kit.training.randomness import epoch_batches, held_out
from vintk_kit.training.trainer import Classifier

SPACE = get_space("microvit-32")
TINY = SPACE.architecture(patch_size=8, embed_dim=32, depth=2, num_heads=(2, 2), mlp_ratio=(1.0, 1.0))


def run(root, folder=None, **options):
    return train(SPACE, TINY, data="imagefolder", root=root, run=folder, **{"epochs": 3, "batch_size": 16} | options)


@pytest.fixture
def worse_every_epoch(monkeypatch):
    """Validation falls from the first epoch on, whatever the network does; returns the splits as they are measured."""
    seen, real = [], Classifier.measure

    def measure(loop: Classifier, split: str) -> dict[str, float]:
        seen.append(split)
        found = real(loop, split)
        return found | {"accuracy": 1 / (1 + loop.epoch)} if split == "val" else found

    monkeypatch.setattr(Classifier, "measure", measure)
    return seen


def test_rows_are_held_out_once():
    rows, held = held_out(100, 0.1, seed=3)
    assert len(held) == 10
    assert sorted([*rows, *held]) == list(range(100))
    assert np.array_equal(held, held_out(100, 0.1, seed=3)[1])
    assert not np.array_equal(held, held_out(100, 0.1, seed=4)[1])
    assert len(held_out(5, 0.1, seed=0)[1]) == 1
    assert len(held_out(5, 0.0, seed=0)[1]) == 0


def test_training_never_sees_the_held_out_images(images):
    found = TrainingImages("imagefolder", make_recipe("smoke", batch_size=4), 32, seed=0, root=images)
    assert (found.count, len(found.splits["val"]), len(found.splits["test"])) == (81, 9, 12)
    train = torch.cat([found._train.flatten(1)])
    ((held, _),) = found.splits["val"].batches()
    assert torch.cdist(train, held.flatten(1)).min() > 1


@pytest.mark.parametrize("stored", [True, False])
def test_validation_chooses_and_the_test_split_is_measured_at_the_end(images, tmp_path, worse_every_epoch, stored):
    folder = tmp_path / "run" if stored else None
    result = run(images, folder)
    assert worse_every_epoch == ["val"] * 3 + ["test"] * 2
    kept, last = result.test["kept"], result.test["last"]
    assert (kept["epoch"], last["epoch"]) == (1, 3)
    assert result.accuracy == kept["accuracy"]
    assert kept["loss"] > last["loss"]
    if not stored:
        return
    assert evaluate(folder, root=images).loss == pytest.approx(kept["loss"], rel=1e-4)
    again = run(images, folder)
    assert len(worse_every_epoch) == 5
    assert again.test == result.test
    state = again.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in result.network.state_dict().items())


def test_the_kept_epoch_survives_a_stop(images, tmp_path, worse_every_epoch):
    stop = threading.Event()
    first = run(images, tmp_path / "run", stop=stop, on_epoch=lambda row: row["epoch"] == 2 and stop.set())
    assert first.interrupted
    assert first.test == {}
    assert np.isnan(first.accuracy)
    assert run(images, tmp_path / "run").test == run(images).test


def test_without_validation_split_the_last_epoch_is_kept(images, tmp_path, worse_every_epoch):
    rows = []
    result = run(images, tmp_path / "run", val_fraction=0.0, on_epoch=rows.append)
    assert worse_every_epoch == ["test"]
    assert result.test["kept"] == result.test["last"]
    assert result.test["kept"]["epoch"] == 3
    assert result.history["val_accuracy"].isna().all()
    assert [row["val_loss"] for row in rows] == [None] * 3
    assert evaluate(tmp_path / "run", root=images).accuracy == pytest.approx(result.accuracy)


def test_copies_of_repeated_augmentation_follow_each_other():
    batches = epoch_batches(20, 6, 3, seed=0, epoch=1, repeats=3)
    pairs = torch.cat(batches)
    assert [len(batch) for batch in batches] == [6, 6, 6]
    assert pairs[:, 1].tolist() == [0, 1, 2] * 6
    assert pairs[:, 0].view(6, 3).eq(pairs[::3, :1]).all()
    assert len(pairs[:, 0].unique()) == 6
    assert not torch.equal(pairs, torch.cat(epoch_batches(20, 6, 3, seed=0, epoch=2, repeats=3)))
    assert make_recipe("imagenet-deit").repeated_augment == 3


def test_a_split_with_other_classes_is_refused(images, tmp_path):
    (tmp_path / "train").symlink_to(images / "train")
    (tmp_path / "val").mkdir()
    for name in ("blue", "green"):
        (tmp_path / "val" / name).symlink_to(images / "val" / name)
    with pytest.raises(InputError, match="one split only: red"):
        run(tmp_path)
    with pytest.raises(InputError, match="batch_size: got 90; allowed: at most 81"):
        run(images, batch_size=90)
    with pytest.raises(InputError, match="val_fraction"):
        run(images, val_fraction=0.6)


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from vintk_kit.spaces import get_space
from vintk_kit.training import train
from vintk_kit.training.trainer import Classifier

real = Classifier.measure

def measure(loop, split):
    found = real(loop, split)
    return found | {"accuracy": 1 / (1 + loop.epoch)} if split == "val" else found

if __name__ == "__main__":
    Classifier.measure = measure
    space = get_space("microvit-32")
    arch = space.parse(sys.argv[1])
    train(space, arch, data="imagefolder", root=sys.argv[2], run=sys.argv[3], epochs=2, batch_size=16)
"""


@pytest.mark.slow
@pytest.mark.serial
def test_two_processes_keep_and_test_the_same_epoch(images, tmp_path, worse_every_epoch):
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(path), TINY.to_json()]
    subprocess.run([sys.executable, *words, str(images), str(tmp_path / "two")],
                   check=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    found = json.loads((tmp_path / "two" / "training" / "test.json").read_text())
    assert (found["kept"]["epoch"], found["last"]["epoch"]) == (1, 2)
    alone = run(images, epochs=2).test
    for name in ("kept", "last"):
        assert found[name]["loss"] == pytest.approx(alone[name]["loss"], rel=1e-3)
