"""timm's modules that use parameters in ways of their own: run sample by sample, and equal to the loop all the same."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError
from vintk_kit.ntk import KernelOperator, loop_kernel, tangent_kernel
from vintk_kit.ntk.replay import empty_caches

SMALL = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
MODELS = {
    "gammas of a block": ("cait_xxs24_224", SMALL),
    "gated attention": ("convit_tiny", {**SMALL, "img_size": 32, "patch_size": 8}),
    "global response norm": ("convnextv2_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}),
    "standardised weights": ("test_nfnet", {}),
    "padding by size": ("tf_mobilenetv3_small_minimal_100", {}),
    "gamma of a convolution": ("edgenext_xx_small", {}),
    "biases kept in a dict": ("tiny_vit_5m_224", {"depths": (1, 1, 1, 1)}),
    "biases of a window": ("coatnet_pico_rw_224", {"img_size": 64}),
    "biases from a small network": ("vit_relpos_small_patch16_224", SMALL),
    "its windows": (
        "swinv2_tiny_window8_256",
        {"img_size": 64, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
    ),
    "biases without a call": ("eva02_tiny_patch14_224", {**SMALL, "img_size": 56, "patch_size": 14}),
    "called without samples": ("xcit_nano_12_p8_224", {"img_size": 64, "depth": 2}),
    "tables of the root": ("tnt_s_patch16_224", {"img_size": 64, "depth": 2}),
    "table scaled to the image": ("vit_tiny_patch16_224", {**SMALL, "img_size": 128, "dynamic_img_size": True}),
    "latent query": ("vit_tiny_patch16_224", {**SMALL, "global_pool": "map"}),
}


def model(name: str, samples: int = 3) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(2)
    what, options = MODELS[name]
    network = timm.create_model(what, num_classes=3, **options).eval().double()
    size = 64 if options.get("dynamic_img_size") else options.get("img_size", 64)
    return network, torch.randn(samples, 3, size, size, dtype=torch.float64)


def state(network: nn.Module) -> list:
    """What a kernel may not change: attributes of modules, hooks, parameters and their flags."""
    modules = [(path, sorted(vars(m)), len(m._forward_hooks)) for path, m in network.named_modules()]
    return [modules, [(name, id(p), p.requires_grad) for name, p in network.named_parameters()]]


def assert_same(found: Tensor, want: Tensor) -> None:
    assert float((found - want).abs().max()) <= 1e-9 * float(want.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_kernel_and_product_equal_the_loop(name: str) -> None:
    network, images = model(name)
    before = state(network)
    kernel = tangent_kernel(network, images, params="all")
    assert state(network) == before
    slow = loop_kernel(network, images, params="all")
    assert_same(kernel.matrix, slow)
    vector = torch.randn(3, dtype=torch.float64)
    assert_same(KernelOperator(network, images, params="all", chunk=2) @ vector, slow @ vector)


@pytest.mark.parametrize("samples", [1, 7, 14])
def test_a_table_of_as_many_rows_as_samples_is_not_taken_for_samples(samples: int) -> None:
    """The network of relative positions sees (7, 7, 2) numbers, whatever N is."""
    network, images = model("biases from a small network", samples)
    assert tuple(network.blocks[0].attn.rel_pos.rel_coords_log.shape) == (7, 7, 2)
    assert_same(tangent_kernel(network, images, params="all").matrix, loop_kernel(network, images, params="all"))


def test_what_a_module_keeps_is_hidden_and_put_back() -> None:
    network, images = model("biases kept in a dict")
    with torch.no_grad():
        network(images)
    held = {path: m.attention_bias_cache for path, m in network.named_modules() if hasattr(m, "attention_bias_cache")}
    entries = {path: dict(cache) for path, cache in held.items()}
    assert any(entries.values())
    kernel = tangent_kernel(network, images, params="all").matrix
    assert_same(kernel, loop_kernel(network, images, params="all"))
    for path, cache in held.items():
        assert network.get_submodule(path).attention_bias_cache is cache
        assert {key: id(value) for key, value in cache.items()} == {k: id(v) for k, v in entries[path].items()}
    with empty_caches(network):
        assert not any(network.get_submodule(path).attention_bias_cache for path in held)


def test_replayed_layers_work_in_bfloat16() -> None:
    network, images = model("global response norm")
    network, images = network.float(), images.float()
    exact = tangent_kernel(network, images, params="all").matrix
    coarse = tangent_kernel(network, images, params="all", autocast=torch.bfloat16).matrix
    assert float((coarse - exact).abs().max() / exact.abs().max()) < 0.03


@pytest.mark.parametrize("params", ["weights", "all"])
def test_one_sample_through_a_batch_norm_is_as_right_as_two(params: str) -> None:
    """torch 2.14 itself is wrong here for N = 1: the reference is the first of two samples."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(2), Transpose(), nn.Linear(6, 4)
    network, images = nn.Sequential(*layers).double().eval(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    network[1].running_var.uniform_(0.5, 2)
    want = loop_kernel(network, images, params=params)
    assert_same(tangent_kernel(network, images[:1], params=params).matrix, want[:1, :1])
    vector = torch.randn(2, dtype=torch.float64)
    assert_same(KernelOperator(network, images, params=params, chunk=1) @ vector, want @ vector)
    assert not any(module._forward_hooks for module in network.modules())


class Transpose(nn.Module):
    """(N, D, T) to (N, T, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Coupled(nn.Module):
    """Pretends to be timm's, but lets each sample see the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x - x.mean(0))


class Constant(nn.Module):
    """A Linear layer that sees a buffer of as many rows as there are samples."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.register_buffer("table", torch.randn(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(x + self.a(self.table).mean(0)))


class Computed(Constant):
    """The same with a table that is computed in passing."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(x)) + self.a(self.table * 2).mean()


REFUSED = {
    "samples that see each other": (Coupled, "Coupled at '1'.*alone gives another output"),
    "a buffer in place of samples": (Constant, "Linear at 'a'.*buffer"),
    "numbers in place of samples": (Computed, "depends on others"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_in_silence_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, message = REFUSED[name]
    monkeypatch.setattr(Coupled, "__module__", "timm.models.pretended")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 6), Coupled()) if make is Coupled else make()
    with pytest.raises(UnsupportedModuleError, match=message):
        tangent_kernel(network.eval(), torch.randn(4, 6), params="all")
