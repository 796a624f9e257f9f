"""Scores from which units are active: NASWOT, linear regions, SWAP.

A unit is active if the input of its activation function is positive. Read at all activation modules
(ReLU, GELU, SiLU, ...), so in a ViT at the hidden units of the MLPs. No gradients.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError, bad_value
from vintk_kit.proxies.base import DATA, MODES, Proxy
from vintk_kit.proxies.candidate import Candidate

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.Mish)


def patterns(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Returns the active units of each activation call, each (N, units) bool.

    Raises:
        UnsupportedModuleError: The network has no activation modules.
    """
    found: list[Tensor] = []

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0].detach().reshape(len(images), -1) > 0)

    modules = [m for m in network.modules() if isinstance(m, ACTIVATIONS) or type(m).__name__ in ("GELU", "QuickGELU")]
    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise UnsupportedModuleError(f"{type(network).__name__} calls no activation module such as ReLU or GELU")
    return found


def _batch_patterns(candidate: Candidate, mode: str) -> list[Tensor]:
    def compute() -> list[Tensor]:
        candidate.spend(1 / 3)
        return patterns(candidate.copy(mode), candidate.images)

    return candidate.cached(("patterns", mode), compute)


def agreement(found: list[Tensor]) -> Tensor:
    """Returns K_ij, the number of units in the same state for images i and j, (N, N) float64."""
    total = torch.zeros(len(found[0]), len(found[0]), dtype=torch.float64)
    for pattern in found:
        for part in pattern.split(2**20, dim=1):
            signs = part.float() * 2 - 1
            # Products of +-1 are exact in float32 up to 2**24 units.
            total += (part.shape[1] + (signs @ signs.T).double().cpu()) / 2
    return total


def naswot(candidate: Candidate, mode: str = "train") -> float:
    """log |det K|, K_ij the number of units in which images i and j agree (Mellor et al., ICML 2021).

    As released in train mode; TF-TAS and Auto-Prox use GELU in ViTs, and first redraw all weights, which is left out.
    Equal images make K singular: the row carries an error.
    """
    return float(torch.linalg.slogdet(agreement(_batch_patterns(candidate, mode)))[1])


def swap(candidate: Candidate, mode: str = "train") -> float:
    """Number of distinct columns of the (N, units) pattern matrix (SWAP, Peng et al., ICLR 2024)."""
    return float(distinct(torch.cat(_batch_patterns(candidate, mode), 1).T))


def distinct(rows: Tensor) -> int:
    """Returns the number of distinct rows of a bool matrix."""
    packed = np.ascontiguousarray(np.packbits(rows.cpu().numpy(), axis=1))
    return len(np.unique(packed.view([("", packed.dtype, packed.shape[1])]).ravel()))


def count_regions(network: nn.Module, images: Tensor) -> int:
    """Returns the number of distinct joint patterns over the images: linear regions that they visit."""
    return distinct(torch.cat(patterns(network, images), 1))


def linear_regions(candidate: Candidate, samples: int = 64, eps: float = 0.001, mode: str = "eval") -> float:
    """Number of linear regions met on a segment A + eps t B, t in [0, 1), A and B Gaussian images (TE-NAS).

    TE-NAS draws independent inputs for nets of width 1. In wider nets each of those lies in a region of its own, so
    points of one short segment are taken. Data-free.
    """
    if samples < 2:
        raise bad_value("linear-regions: samples", samples, "2 or more")
    shape = (1, *candidate.images.shape[1:])
    steps = torch.arange(samples).to(candidate.images).view(-1, 1, 1, 1) / samples
    segment = candidate.noise(1, *shape) + eps * steps * candidate.noise(2, *shape)
    candidate.spend(samples / len(candidate.images) / 3)
    return float(count_regions(candidate.copy(mode), segment))


_MODE, _MODES = {"mode": "train"}, {"mode": MODES}
PROXIES = (
    Proxy("naswot", "activation", naswot, 1, DATA, 0.4, "Mellor et al. 2021", _MODE, _MODES),
    Proxy(
        "linear-regions",
        "activation",
        linear_regions,
        1,
        frozenset(),
        0.7,
        "TE-NAS, on a segment",
        {"samples": 64, "eps": 0.001, "mode": "eval"},
        _MODES,
    ),
    Proxy("swap", "activation", swap, 1, DATA, 0.4, "Peng et al. 2024", _MODE, _MODES),
)
