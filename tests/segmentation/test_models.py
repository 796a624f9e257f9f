"""Backbones of every family with every decoder; errors of sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vintk_kit.errors import InputError, UnsupportedModuleError
from vintk_kit.segmentation import DECODERS, build_segmenter
from vintk_kit.spaces import get_space

CASES = [
    *(("hybrid-hr", name) for name in DECODERS),
    ("microvit-32", "linear"), ("autoformer-tiny", "segformer"), ("pit-ti", "upernet"),
    ("timm(names=('convnext_atto',))", "fcn"), ("timm(names=('vit_tiny_patch16_224',))", "linear"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "decoder"), CASES)
def test_logits_have_the_size_of_the_image_and_every_parameter_is_used(name, decoder):
    space = get_space(name)
    arch = space.smallest() if name == "hybrid-hr" else space.sample(np.random.default_rng(0))
    network = build_segmenter(space, arch, num_classes=5, image_size=64, decoder=decoder).train()
    logits = network(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 5, 64, 64)
    logits.square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_same_seed_same_network_and_any_size():
    space = get_space("hybrid-hr")
    twins = [build_segmenter(space, space.smallest(), num_classes=3, image_size=64, decoder="segformer", seed=4)
             for _ in range(2)]  # fmt: skip
    x = torch.randn(1, 3, 50, 77)
    assert twins[0](x).shape == (1, 3, 50, 77)
    assert torch.equal(twins[0](x), twins[1](x))


def test_the_linear_decoder_is_the_one_of_the_space():
    space = get_space("hybrid-hr")
    arch, x = space.sample(np.random.default_rng(3)), torch.randn(1, 3, 64, 64)
    weights = space.supernet(1, num_classes=4, image_size=64)
    dense = space.build(arch, num_classes=4, image_size=64, weights=weights)(x)
    logits = build_segmenter(space, arch, num_classes=4, image_size=64, weights=weights)(x)
    expected = torch.nn.functional.interpolate(dense, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(logits, expected)


def test_sizes_and_names_are_checked():
    space = get_space("pit-ti")
    arch = space.sample(np.random.default_rng(0))
    network = build_segmenter(space, arch, num_classes=3, image_size=64)
    with pytest.raises(InputError, match="64 x 64, or windows of that size"):
        network(torch.randn(1, 3, 96, 96))
    with pytest.raises(InputError, match="linear, fcn, segformer, upernet"):
        build_segmenter(space, arch, num_classes=3, image_size=64, decoder="deeplab")
    with pytest.raises(InputError, match="multiples of 32"):
        build_segmenter(space, arch, num_classes=3, image_size=72)
    other = get_space("nasbench201")
    with pytest.raises(UnsupportedModuleError, match="no feature maps"):
        build_segmenter(other, other.sample(np.random.default_rng(0)), num_classes=3, image_size=32)
