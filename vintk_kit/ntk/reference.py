"""The slow, obvious kernel: the yardstick of tests and benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vintk_kit.ntk.owners import Chooser, chosen
from vintk_kit.ntk.replay import dense_gradients, empty_caches


def loop_kernel(
    network: nn.Module, images: Tensor, *, params: str | Chooser = "weights", dtype: torch.dtype = torch.float64
) -> Tensor:
    """Computes the kernel of the sum of outputs by one retained backward pass per sample (TE-NAS's way).

    Args:
        network: In eval mode.
        images: (N, ...).
        params: As in `tangent_kernel`.
        dtype: Precision of the Gram product.

    Returns:
        (N, N) in `dtype`. Cost: one forward and N backward passes over the whole batch, and N P numbers of memory.
    """
    tensors = list(chosen(network, params).values())
    rows = []
    with torch.enable_grad(), empty_caches(network), dense_gradients(network):
        result = network(images)
        for index in range(len(images)):
            scalar = result[index].sum()
            found = torch.autograd.grad(scalar, tensors, retain_graph=True, allow_unused=True)
            rows.append(torch.cat([g.flatten() for g in found if g is not None]))
    gradients = torch.stack(rows).to(dtype)
    return gradients @ gradients.T
