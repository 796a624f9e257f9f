"""Options that `smoke` leaves off: teacher, bfloat16, compile, channels-last, loader processes, trained supernet."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from vintk_kit.data.files import ImageFiles
from vintk_kit.errors import InputError
from vintk_kit.spaces import get_space
from vintk_kit.training import make_recipe, train
from vintk_kit.training.evaluate import evaluate
from vintk_kit.training.images import TrainingImages
from vintk_kit.training.models import make_task
from vintk_kit.training.supernet import one_shot

SPACE = get_space("microvit-32")
TINY = SPACE.architecture(patch_size=8, embed_dim=32, depth=2, num_heads=(2, 2), mlp_ratio=(1.0, 1.0))
LOSSES = ["train_loss", "val_loss"]


def run(root, **options):
    return train(SPACE, TINY, data="imagefolder", root=root, **{"epochs": 2, "batch_size": 16} | options)


@pytest.fixture
def teacher(tmp_path) -> dict[str, str]:
    """Options that name a small timm teacher with weights on disk."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    save_file(network.state_dict(), tmp_path / "teacher.safetensors")
    return {"teacher": "test_resnet", "teacher_weights": str(tmp_path / "teacher.safetensors")}


def test_the_loss_of_distillation_is_the_one_of_the_formula(images, teacher):
    recipe = make_recipe("smoke", batch_size=16, smoothing=0.0, distill_weight=0.25, temperature=2.0, **teacher)
    batches = TrainingImages("imagefolder", recipe, 32, 0, root=images)
    network = SPACE.build(TINY, num_classes=3)
    task = make_task(network, batches, recipe, torch.device("cpu")).train()
    _, x, labels = next(batches.epoch(0))
    found = task(x, labels)["loss"]
    other = timm.create_model("test_resnet", num_classes=3, checkpoint_path=teacher["teacher_weights"]).eval()
    pixels = x * torch.tensor(batches.std).view(3, 1, 1) + torch.tensor(batches.mean).view(3, 1, 1)
    cfg = other.pretrained_cfg
    wanted = (pixels - torch.tensor(cfg["mean"]).view(3, 1, 1)) / torch.tensor(cfg["std"]).view(3, 1, 1)
    with torch.no_grad():
        soft = (other(wanted) / 2).softmax(1)
    logits = network(x)
    divergence = (soft * (soft.log() - (logits / 2).log_softmax(1))).sum(1).mean() * 4
    expected = 0.75 * torch.nn.functional.cross_entropy(logits, labels) + 0.25 * divergence
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_leads_and_stays_as_it_is(images, teacher, tmp_path):
    plain = run(images)
    led = run(images, run=tmp_path / "led", **teacher, mixup=0.2)
    assert np.isfinite(led.history[LOSSES].to_numpy()).all()
    assert not np.allclose(led.history["val_loss"], plain.history["val_loss"])
    assert set(led.network.state_dict()) == set(plain.network.state_dict())
    assert evaluate(tmp_path / "led", root=images).accuracy == pytest.approx(led.accuracy)
    assert np.isfinite(run(images, teacher=str(tmp_path / "led"), epochs=1).history["train_loss"]).all()


def test_a_teacher_that_does_not_fit_is_refused(images, teacher, tmp_path):
    with pytest.raises(InputError, match=r"teacher_weights: got 'absent'.*test_resnet"):
        run(images, teacher="test_resnet", teacher_weights="absent")
    with pytest.raises(InputError, match="teacher: got 'nobody'; allowed: a timm model name, or a finished run"):
        run(images, teacher="nobody")
    save_file(timm.create_model("test_resnet", num_classes=5).state_dict(), teacher["teacher_weights"])
    with pytest.raises(InputError, match=r"teacher_weights: .*3 classes"):
        run(images, **teacher)


def test_bfloat16_is_close_to_float32(images):
    exact, short = run(images), run(images, precision="bfloat16")
    np.testing.assert_allclose(short.history[LOSSES], exact.history[LOSSES], rtol=0.05)
    assert not np.array_equal(short.history["train_loss"], exact.history["train_loss"])
    assert all(parameter.dtype is torch.float32 for parameter in short.network.parameters())


def test_channels_last_changes_memory_only(images):
    exact, other = run(images), run(images, channels_last=True)
    np.testing.assert_allclose(other.history[LOSSES], exact.history[LOSSES], rtol=1e-4)
    weight = other.network.patch_embed.proj.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler on the CPU"
)
def test_compiled_training_has_the_same_curve(images, tmp_path):
    options = {"epochs": 1, "ema": 0.9}
    plain = run(images, **options)
    compiled = run(images, run=tmp_path / "compiled", compile=True, **options)
    np.testing.assert_allclose(compiled.history[LOSSES], plain.history[LOSSES], rtol=1e-3)
    assert set(compiled.network.state_dict()) == set(plain.network.state_dict())
    assert evaluate(tmp_path / "compiled", root=images).accuracy == pytest.approx(compiled.accuracy)


def test_a_supernet_is_where_training_starts_and_stays_as_it_is(images):
    supernet = SPACE.supernet(5, num_classes=3)
    before = {name: tensor.clone() for name, tensor in supernet.state.items()}
    still = run(images, weights=supernet, epochs=1, lr=0.0, min_lr=0.0, warmup_lr=0.0)
    expected = one_shot(SPACE, supernet, [TINY], data="imagefolder", root=images)["one_shot"].iloc[0]
    assert still.accuracy == pytest.approx(expected)
    fresh = SPACE.build(TINY, num_classes=3, weights=supernet).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in still.network.state_dict().items())
    run(images, weights=supernet, epochs=1)
    assert all(torch.equal(supernet.state[name], tensor) for name, tensor in before.items())


@pytest.mark.slow
def test_loader_processes_change_nothing(images):
    options = {"epochs": 1, "batch_size": 32, "auto_augment": "rand-m9-mstd0.5-inc1", "repeated_augment": 3}
    alone, helped = run(images, **options), run(images, workers=2, **options)
    assert helped.history[LOSSES].equals(alone.history[LOSSES])
    assert helped.test == alone.test


def test_imagenet_preset_runs_on_a_folder_and_streams_it(images, monkeypatch):
    read, opened = ImageFiles.__getitem__, []

    def watched(files: ImageFiles, index: int) -> np.ndarray:
        opened.append(files.paths[index])
        return read(files, index)

    monkeypatch.setattr(ImageFiles, "__getitem__", watched)
    recipe = make_recipe("imagenet-deit", batch_size=16, image_size=32, workers=0, epochs=1, val_fraction=0.1)
    splits = TrainingImages("imagefolder", recipe, 32, 0, root=images).splits
    assert opened == []
    monkeypatch.setattr("vintk_kit.training.images.MEASURED", 5)
    batches = splits["test"].batches()
    next(batches)
    assert len(opened) == 5
    assert sum(len(labels) for _, labels in batches) == 7
    parts = [labels for rank in range(2) for _, labels in splits["test"].batches(rank, 2)]
    assert torch.cat(parts).bincount().tolist() == [4, 4, 4]
    result = train(SPACE, TINY, data="imagefolder", root=images, preset=recipe)
    assert np.isfinite(result.history[LOSSES].to_numpy()).all()
