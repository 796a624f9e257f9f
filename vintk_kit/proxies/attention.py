"""Scores from attention maps and heads (after Serianni and Kalita, ACL 2023, and Michel et al., NeurIPS 2019).

The maps are read at `attn_drop`, the heads at the input of `proj`; networks without them are refused. One
forward-backward serves all four. Sums over heads grow with the network, means do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError
from vintk_kit.proxies.base import ALL_NEEDS, DATA, Proxy
from vintk_kit.proxies.candidate import Candidate
from vintk_kit.proxies.saliency import cross_entropy


@dataclass(frozen=True)
class HeadPass:
    """Per attention layer: largest weights, importance of maps and of heads, each (H,) float64."""

    confidence: list[Tensor]
    attention_importance: list[Tensor]
    head_importance: list[Tensor]


def head_pass(candidate: Candidate) -> HeadPass:
    """One pass in eval mode with the gradients of the cross-entropy at attention maps and head outputs."""
    return candidate.cached(("heads",), lambda: _head_pass(candidate))


def _layers(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if all(hasattr(m, name) for name in ("attn_drop", "proj", "num_heads"))]


def _head_pass(candidate: Candidate) -> HeadPass:
    network = candidate.copy()
    layers = _layers(network)
    if not layers:
        raise UnsupportedModuleError(f"{type(network).__name__} has no attention layers with attn_drop and proj")
    maps: list[Tensor] = []
    outputs: list[tuple[int, Tensor]] = []
    for layer in layers:
        layer.attn_drop.register_forward_hook(lambda _module, _inputs, out: maps.append(out))
        heads = layer.num_heads
        layer.proj.register_forward_pre_hook(lambda _module, args, heads=heads: outputs.append((heads, args[0])))
    with torch.enable_grad():
        loss = cross_entropy(network, candidate.images, candidate.labels)
        gradients = torch.autograd.grad(loss, [*maps, *(out for _, out in outputs)])
    candidate.spend(1.0)
    n = len(candidate.images)
    confidence = [a.detach().double().amax(-1).flatten(2).mean((0, 2)) for a in maps]
    importance = [
        (a.detach() * g).double().abs().flatten(2).sum(2).sum(0) for a, g in zip(maps, gradients, strict=False)
    ]
    heads = []
    for (count, out), gradient in zip(outputs, gradients[len(maps) :], strict=True):
        product = (out.detach() * gradient).double().reshape(n, -1, count, out.shape[-1] // count)
        heads.append(product.sum((1, 3)).abs().sum(0))
    return HeadPass(confidence, importance, heads)


def head_confidence(candidate: Candidate) -> float:
    """Sum over heads of the mean (over images and queries) of the largest attention weight."""
    return sum(float(layer.sum()) for layer in head_pass(candidate).confidence)


def attention_confidence(candidate: Candidate) -> float:
    """Mean over heads of the mean (over images and queries) of the largest attention weight."""
    return float(torch.cat(head_pass(candidate).confidence).mean())


def head_importance(candidate: Candidate) -> float:
    """Sum over heads h and images of |o_h · dL/do_h|, o_h the output of the head, L the mean cross-entropy."""
    return sum(float(layer.sum()) for layer in head_pass(candidate).head_importance)


def attention_importance(candidate: Candidate) -> float:
    """Sum over heads and images of |A dL/dA|, A the attention maps."""
    return sum(float(layer.sum()) for layer in head_pass(candidate).attention_importance)


_SOURCE = "Serianni and Kalita 2023, own reading for ViTs"
_CONFIDENCE = DATA | {"labels", "gradients"}
PROXIES = (
    Proxy("head-confidence", "attention", head_confidence, 1, _CONFIDENCE, 1.0, _SOURCE),
    Proxy("attention-confidence", "attention", attention_confidence, 1, _CONFIDENCE, 1.0, _SOURCE),
    Proxy("head-importance", "attention", head_importance, 1, ALL_NEEDS, 1.0, _SOURCE),
    Proxy("attention-importance", "attention", attention_importance, 1, ALL_NEEDS, 1.0, _SOURCE),
)
