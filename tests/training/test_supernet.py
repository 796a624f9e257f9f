"""Supernets: gradients reach the shared tensors, a stopped training goes on, subnets start trainings."""

from __future__ import annotations

import threading

import pytest
import torch

from vintk_kit.errors import InputError, StoreError
from vintk_kit.spaces import get_space
from vintk_kit.training import supernet
from vintk_kit.training.quick import TensorData
from vintk_kit.training.supernet import _forward, load_supernet, one_shot, train_supernet

SPACE = get_space("microvit-32")
TINY = SPACE.architecture(patch_size=8, embed_dim=32, depth=2, num_heads=(2, 2), mlp_ratio=(1.0, 1.0))
OPTIONS = {"epochs": 2, "batch_size": 32, "max_params": 1e5}


@pytest.fixture
def few_images(monkeypatch):
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.randn(64, 3, 32, 32, generator=draws), torch.randint(10, (64,), generator=draws)
    data = TensorData(images, labels, images, labels, tuple("abcdefghij"))
    monkeypatch.setattr(supernet, "tensor_data", lambda *_: data)


def test_supernet_gradients_reach_the_shared_tensors():
    drawn = SPACE.supernet(0)
    shared = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in drawn.state.items()}
    images = torch.randn(2, 3, 32, 32)
    _forward(SPACE, TINY, drawn, shared, images).sum().backward()
    name = SPACE.weight_name(TINY, "blocks.0.mlp.fc1.weight")
    gradient = shared[name].grad
    assert gradient[:32, :32].abs().sum() > 0
    assert gradient[32:].abs().sum() == 0


def test_a_stopped_supernet_goes_on_and_is_the_same(few_images, tmp_path):
    whole, stop = train_supernet(SPACE, **OPTIONS), threading.Event()
    train_supernet(SPACE, run=tmp_path, stop=stop, on_epoch=lambda row: stop.set(), **OPTIONS)
    seen = []
    resumed = train_supernet(SPACE, run=tmp_path, on_epoch=seen.append, **OPTIONS)
    assert [row["epoch"] for row in seen] == [2]
    stored = load_supernet(tmp_path / "supernet.safetensors")
    for name, tensor in whole.state.items():
        assert torch.equal(resumed.state[name], tensor)
        assert torch.equal(stored.state[name], resumed.state[name])
    with pytest.raises(StoreError, match="max_params"):
        train_supernet(SPACE, run=tmp_path, **OPTIONS | {"max_params": 9e4})
    table = one_shot(SPACE, resumed, [TINY], limit=100)
    assert 0 <= table["one_shot"].iloc[0] <= 1


def test_limits_of_a_supernet_are_checked():
    with pytest.raises(InputError, match="epochs: got 0"):
        train_supernet(SPACE, epochs=0)
    with pytest.raises(InputError, match="batch_size: got 0"):
        train_supernet(SPACE, batch_size=0)
