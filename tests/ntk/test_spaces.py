"""The fast kernel equals the loop of autograd calls on networks of the search spaces, all parameters."""

import numpy as np
import pytest
import torch

from vintk_kit.ntk import loop_kernel, tangent_kernel
from vintk_kit.spaces import get_space

SIZES = {"microvit-32": 32, "autoformer-tiny": 32, "autoformer-tiny-scratch": 32, "pit-ti": 64, "nasbench201": 32}


@pytest.mark.parametrize("name", SIZES)
def test_kernel_of_a_space_equals_the_loop(name):
    space, sizes = get_space(name), {"num_classes": 5, "image_size": SIZES[name]}
    arch = space.sample(np.random.default_rng(0))
    network = space.build(arch, weights=space.supernet(0, **sizes), **sizes).double()
    images = torch.randn(3, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(0)).double()
    fast = tangent_kernel(network, images, params="all")
    slow = loop_kernel(network, images, params="all")
    assert torch.allclose(fast.matrix, slow, rtol=1e-10, atol=1e-10 * float(slow.abs().max()))
    assert torch.allclose(sum(fast.parts.values()), fast.matrix, rtol=1e-12)
