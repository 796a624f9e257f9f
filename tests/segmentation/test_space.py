"""hybrid-hr: the set, its networks, their slices of the supernet, exact kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vintk_kit.errors import InputError
from vintk_kit.ntk import loop_kernel, tangent_kernel
from vintk_kit.segmentation.network import LinearHead, WindowAttention, resized
from vintk_kit.segmentation.space import CELLS, HybridHR
from vintk_kit.spaces import Architecture, get_space

SPACE = get_space("hybrid-hr")


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.empty(parameter.shape).normal_(generator=generator)
    return module


def test_the_space_is_large_and_its_sizes_span_the_range():
    assert isinstance(SPACE, HybridHR)
    assert SPACE.size() == 4**4 * 2**4 * 3**4 * 3**30
    assert SPACE.size() >= 10**9
    assert 1.0e6 <= SPACE.params(SPACE.smallest()) < 1.2e6
    assert 20e6 < SPACE.params(SPACE.largest()[0]) <= 40e6


def test_params_by_formula_are_those_of_the_network():
    rng = np.random.default_rng(5)
    for arch in (SPACE.smallest(), SPACE.sample(rng), SPACE.sample(rng)):
        network = SPACE.skeleton(arch, 4, 11, 64)
        built = sum(p.numel() for _, p in network.named_parameters(remove_duplicate=False))
        assert SPACE.params(arch, in_channels=4, num_classes=11) == built


def test_architectures_vary_and_read_back():
    rng = np.random.default_rng(0)
    arch = SPACE.sample(rng)
    assert SPACE.contains(arch)
    assert SPACE.parse(arch.to_json()) == arch
    assert Architecture.from_json(arch.to_json()).key == arch.key
    child = SPACE.mutate(arch, rng)
    assert child != arch
    assert SPACE.contains(child)
    with pytest.raises(InputError, match="mixer"):
        SPACE.architecture(**dict(arch.choices) | {"mixer": ("pool",) * len(CELLS)})
    with pytest.raises(InputError, match="multiples of 32"):
        SPACE.build(arch, image_size=100)


def test_logits_are_dense_at_tiles_and_street_crops():
    arch = SPACE.sample(np.random.default_rng(1))
    assert SPACE.build(arch)(torch.randn(1, 3, 128, 128)).shape == (1, 6, 32, 32)
    network = SPACE.skeleton(arch, 3, 19, 512)
    assert network(torch.empty(2, 3, 512, 1024, device="meta")).shape == (2, 19, 128, 256)
    with pytest.raises(InputError, match="multiples of 32"):
        network(torch.empty(1, 3, 100, 128, device="meta"))


def test_networks_are_views_of_the_supernet():
    supernet = SPACE.supernet(seed=3)
    arch = SPACE.sample(np.random.default_rng(2))
    network = SPACE.build(arch, weights=supernet)
    weight = network.stages[3].branches[3].blocks[0].mlp.fc1.weight
    full = supernet.state["stages.3.branches.3.blocks.0.mlp.fc1.weight"]
    assert weight.data_ptr() == full.data_ptr()
    assert torch.equal(weight, full[: weight.shape[0], : weight.shape[1]])
    assert SPACE.params(arch) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (3, 3)])
def test_window_attention_equals_a_loop_over_windows(size):
    layer, x = randomise(WindowAttention(8, 2, 4)).double(), torch.randn(2, *size, 8, dtype=torch.float64)
    side = min(4, max(size))
    expected = torch.empty_like(x)
    for top in range(0, size[0], side):
        for left in range(0, size[1], side):
            part = x[:, top : top + side, left : left + side]
            tokens = layer.qkv(part.reshape(2, -1, 8)).view(2, -1, 2, 4, 3)
            q, k, v = tokens.permute(4, 0, 2, 1, 3)
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(part.shape)
            expected[:, top : top + side, left : left + side] = layer.proj(out)
    torch.testing.assert_close(layer(x), expected)


def test_the_head_is_one_linear_layer_on_concatenated_features():
    head = LinearHead((4, 6), 3).to_empty(device="cpu")
    randomise(head)
    maps = [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)]
    normal = [norm(x) for norm, x in zip(head.norms, maps, strict=True)]
    weight = torch.cat([score.weight for score in head.scores], dim=1)
    bias = sum(score.bias for score in head.scores)
    stacked = torch.cat([normal[0], resized(normal[1], (8, 8))], dim=1)
    expected = torch.nn.functional.conv2d(stacked, weight, bias)
    torch.testing.assert_close(head(maps), expected, rtol=1e-4, atol=1e-4)


def test_dense_kernel_equals_the_loop_and_is_split_by_group():
    mixers = ("both", "attention", "conv") * 3 + ("both",)
    arch = SPACE.architecture(**dict(SPACE.smallest().choices) | {"mixer": mixers})
    network, images = SPACE.build(arch), torch.randn(3, 3, 64, 32)
    kernel = tangent_kernel(network, images, params="all")
    slow = loop_kernel(network, images, params="all")
    assert (kernel.matrix - slow).abs().max() < 1e-5 * slow.abs().max()
    groups = {group for group, _ in kernel.parts}
    assert {"attention", "mlp", "conv", "norm", "head", "patch_embed"} <= groups


def test_probes_of_pixels_give_a_seeded_kernel():
    network, images = SPACE.build(SPACE.smallest(), num_classes=2), torch.randn(3, 3, 32, 32)
    one, same, other = (tangent_kernel(network, images, output="probes", seed=seed).matrix for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert torch.linalg.eigvalsh(one).min() > -1e-6 * one.trace()


def test_proxies_score_dense_networks():
    from vintk_kit.scoring import score
    from vintk_kit.segmentation import dense_probe

    probe = dense_probe("bluemarble", n=4, size=32)
    mixed = dict(SPACE.smallest().choices) | {"mixer": ("both", "conv") * 5}
    names = "vintk,ntk,snip,synflow,naswot,head-confidence,params"
    rows = list(score("hybrid-hr", [SPACE.architecture(**mixed)], names, data=probe))
    assert [row["error"] for row in rows] == [None] * 7
    assert all(np.isfinite(row["score"]) for row in rows)
