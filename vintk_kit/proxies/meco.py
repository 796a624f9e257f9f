"""MeCo: smallest eigenvalues of feature correlations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vintk_kit.proxies.base import MODES, Proxy
from vintk_kit.proxies.candidate import Candidate

LEAVES = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.GELU)


def meco(candidate: Candidate, layers: str = "released", mode: str = "train") -> float:
    """Sum over layers of the smallest eigenvalue of the correlation matrix of a layer's channels (NeurIPS 2023).

    One Gaussian image; the rows correlated are those of the first image's output, (C, HW) in a CNN, (T, D) in a ViT.
    The released code hooks every module: containers and identities count again, so wrapping a layer changes the score.
    layers="leaf" keeps Conv2d, Linear, BatchNorm2d, LayerNorm, ReLU and GELU. NaN correlations count as 0.
    """
    image = candidate.noise(3, 1, *candidate.images.shape[1:])
    candidate.spend(1 / len(candidate.images))
    return meco_value(candidate.copy(mode), image, layers)


def meco_value(network: nn.Module, image: Tensor, layers: str = "released") -> float:
    """MeCo of a network on one image (1, c, H, W)."""
    values: list[float] = []

    def hook(_module: nn.Module, _inputs: tuple, output: object) -> None:
        first = next((one for one in output if isinstance(one, Tensor)), None) if isinstance(output, tuple) else output
        if isinstance(first, Tensor) and first.ndim > 1:
            rows = first[0].detach().double()
            values.append(_smallest(rows.reshape(len(rows), -1)))

    modules = [m for m in network.modules() if layers == "released" or isinstance(m, LEAVES)]
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return sum(values)


def _smallest(rows: Tensor) -> float:
    if rows.shape[1] < 2:
        return 0.0
    centred = rows - rows.mean(1, keepdim=True)
    covariance = centred @ centred.T / (rows.shape[1] - 1)
    scale = covariance.diagonal().sqrt()
    correlation = (covariance / scale[:, None] / scale[None, :]).nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1)
    return float(torch.linalg.eigvalsh(correlation)[0])


PROXIES = (
    Proxy(
        "meco",
        "activation",
        meco,
        1,
        frozenset(),
        0.1,
        "Jiang et al. 2023",
        {"layers": "released", "mode": "train"},
        {"layers": ("released", "leaf"), "mode": MODES},
    ),
)
