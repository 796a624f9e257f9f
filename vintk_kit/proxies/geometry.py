"""As-ViT's length distortion of a circle of inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value
from vintk_kit.proxies.base import GRADIENTS, Proxy
from vintk_kit.proxies.candidate import Candidate, logits, transformer_blocks
from vintk_kit.proxies.kernel import last_tokens


def curve_speeds(network: nn.Module, u1: Tensor, u2: Tensor, points: int, feature: str = "tokens") -> Tensor:
    """Returns |df/dθ| at θ = 0 ... 2π (both ends) on the circle cos θ u1 + sin θ u2.

    Args:
        network: In eval mode; normalisation layers as they shall be.
        u1: First direction, (c, H, W).
        u2: Second direction.
        points: Number of angles P.
        feature: "logits", or "tokens": the token mean of the last block's output.

    Returns:
        (P,) speeds. From two backward passes, exact through layer norm.
    """
    theta = torch.linspace(0, 2 * math.pi, points, dtype=torch.float64).to(u1)[:, None, None, None]
    place = theta.cos() * u1 + theta.sin() * u2
    direction = theta.cos() * u2 - theta.sin() * u1

    def function(x: Tensor) -> Tensor:
        return logits(network, x).flatten(1) if feature == "logits" else last_tokens(network, x).mean(1)

    place.requires_grad_()
    with torch.enable_grad():
        value = function(place)
        dummy = torch.zeros_like(value, requires_grad=True)
        # J'u is linear in u, so its derivative along the direction is the product J direction.
        (pulled,) = torch.autograd.grad(value, place, dummy, create_graph=True)
        (velocity,) = torch.autograd.grad(pulled, dummy, direction)
    return velocity.norm(dim=1)


def without_norms(network: nn.Module) -> nn.Module:
    """Replaces all layer norms by identities, in place; returns the network."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, nn.Identity())
    return network


def length_distortion(candidate: Candidate, points: int = 10, feature: str = "auto", norms: bool = False) -> float:
    """Sum over `points` angles of |df/dθ|, f on a random great circle of inputs (As-ViT, ICLR 2022); higher is better.

    As released: 10 points, a sum without dθ, layer norms replaced by identities (norms=True keeps them). feature is the
    token mean of the last block ("tokens") or the logits; "auto" takes tokens where there are blocks. Data-free.
    """
    if points < 2:
        raise bad_value("length-distortion: points", points, "2 or more")
    network = candidate.copy()
    if feature == "auto":
        feature = "tokens" if transformer_blocks(network) else "logits"
    if not norms:
        without_norms(network)
    shape = candidate.images.shape[1:]
    basis = torch.linalg.qr(
        torch.stack([candidate.noise(4, *shape).flatten(), candidate.noise(5, *shape).flatten()], 1)
    )[0]
    u1, u2 = basis[:, 0].reshape(shape), basis[:, 1].reshape(shape)
    candidate.spend(points / len(candidate.images))
    return float(curve_speeds(network, u1, u2, points, feature).double().sum())


PROXIES = (
    Proxy(
        "length-distortion",
        "geometry",
        length_distortion,
        1,
        GRADIENTS,
        0.5,
        "As-ViT, Chen et al. 2022",
        {"points": 10, "feature": "auto", "norms": False},
        {"feature": ("auto", "tokens", "logits")},
    ),
)
