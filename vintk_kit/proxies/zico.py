"""ZiCo: gradient mean over gradient deviation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vintk_kit.errors import bad_value
from vintk_kit.proxies.base import ALL_NEEDS, MODES, Proxy
from vintk_kit.proxies.candidate import Candidate
from vintk_kit.proxies.saliency import cross_entropy, weight_gradients


def zico(candidate: Candidate, batches: int = 2, mode: str = "train") -> float:
    """Sum over layers of log sum_w mean_b |g_b| / std_b g_b (Li et al., ICLR 2023).

    g_b is the cross-entropy gradient of mini-batch b; the batch is cut into `batches` of equal size, in order. Weights
    with deviation exactly 0 are skipped. Conv2d and Linear weights. MeCo's copy never clears gradients, Auto-Prox's
    "zico" is another quantity: neither is offered.
    """
    size = len(candidate.images) // batches
    if batches < 2 or size < 1:
        raise bad_value("zico: batches", batches, f"2 to {len(candidate.images)}, the number of images")
    network = candidate.copy(mode)
    gradients: dict[str, list[Tensor]] = {}
    for b in range(batches):
        part = slice(b * size, (b + 1) * size)
        with torch.enable_grad():
            loss = cross_entropy(network, candidate.images[part], candidate.labels[part])
            found = weight_gradients(network, loss)
        for path, (_, gradient) in found.items():
            gradients.setdefault(path, []).append(gradient)
    candidate.spend(1.0)
    total = 0.0
    for layer in gradients.values():
        mean = sum(gradient.abs() for gradient in layer) / batches
        centre = sum(layer) / batches
        deviation = (sum((gradient - centre).square() for gradient in layer) / batches).sqrt()
        used = deviation > 0
        value = float((mean[used] / deviation[used]).sum(dtype=torch.float64))
        total += math.log(value) if value > 0 else 0.0
    return total


PROXIES = (
    Proxy(
        "zico", "saliency", zico, 1, ALL_NEEDS, 1.0, "Li et al. 2023", {"batches": 2, "mode": "train"}, {"mode": MODES}
    ),
)
