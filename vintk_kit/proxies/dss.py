"""Saliency scores made for ViTs: DSS of TF-TAS and Auto-Prox-A; data-free, by SynFlow's protocol.

MSA layers are `qkv` and `proj` of the attention, MLP layers are `fc1` and `fc2`; networks without them are refused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError
from vintk_kit.ntk.groups import layer_group
from vintk_kit.proxies.base import GRADIENTS, Proxy
from vintk_kit.proxies.candidate import Candidate, logits
from vintk_kit.proxies.saliency import positive_pass, weight_gradients
from vintk_kit.spectrum import nuclear_norm

Pairs = dict[str, tuple[Tensor, Tensor]]


def _parts(candidate: Candidate, found: Pairs) -> dict[str, list[str]]:
    """Paths of the layers of each kind: qkv, proj, mlp, head."""
    modules = dict(candidate.network.named_modules())
    parts: dict[str, list[str]] = {"qkv": [], "proj": [], "mlp": [], "head": []}
    for path in found:
        group, block = layer_group(path, modules[path])
        if group == "attention" and isinstance(modules[path], nn.Linear):
            parts["proj" if "proj" in path.rpartition(".")[2] else "qkv"].append(path)
        elif group == "mlp" and isinstance(modules[path], nn.Linear):
            parts["mlp"].append(path)
        elif group == "head" and block is None:
            parts["head"].append(path)
    if not parts["qkv"] or not parts["mlp"]:
        raise UnsupportedModuleError(f"{type(candidate.network).__name__} has no attention and MLP layers to read")
    return parts


def _nuclear(weight: Tensor, gradient: Tensor) -> float:
    # Eigenvalues of WWᵀ take a quarter of the time; gradients are too near singular for that.
    short = weight if len(weight) <= weight.shape[1] else weight.T
    return float(torch.linalg.matrix_norm(gradient, "nuc")) * nuclear_norm(short @ short.T)


def _product(weight: Tensor, gradient: Tensor) -> float:
    return float((weight * gradient).abs().sum())


def _split(candidate: Candidate, path: str, pair: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """q, k and v of a joint matrix: every third row in this kit's attention, thirds elsewhere."""
    owner = candidate.network.get_submodule(path.rpartition(".")[0])
    if type(owner).__module__.startswith("vintk_kit."):
        return [(pair[0][i::3], pair[1][i::3]) for i in range(3)]
    return list(zip(pair[0].chunk(3), pair[1].chunk(3), strict=True))


def dss(candidate: Candidate, head: bool = False, qkv: str = "whole") -> float:
    """Sum over MSA matrices of ||dR/dW||_* ||W||_* plus sum over MLP matrices of |W dR/dW| (TF-TAS, CVPR 2022).

    Parameters are made non-negative, the image is all ones, R is the sum of logits. head=True adds the head like an
    MLP layer (Auto-Prox's copy). qkv="whole" takes one 3DxD matrix, "split" its three parts.
    Cost: one singular value decomposition per matrix, more than the pass.
    """
    found = positive_pass(candidate)
    parts = _parts(candidate, found)
    total = sum(_nuclear(*found[path]) for path in parts["proj"])
    for path in parts["qkv"]:
        pairs = [found[path]] if qkv == "whole" else _split(candidate, path, found[path])
        total += sum(_nuclear(*pair) for pair in pairs)
    return total + sum(_product(*found[path]) for path in parts["mlp"] + (parts["head"] if head else []))


def dss_released(candidate: Candidate, change_qkv: bool = True) -> float:
    """What TF-TAS's released code computes, which is not its formula.

    Only the class token and position embedding are made non-negative. With change_qkv=True (the released search)
    the qkv terms are exactly 0; with False they are |W dR/dW|, because the layer is told by its class name. The head
    counts like an MLP layer, but is 0 with 1000 classes.
    """
    found = candidate.cached(("released",), lambda: _released_pass(candidate))
    parts = _parts(candidate, found)
    total = sum(_nuclear(*found[path]) for path in parts["proj"])
    total += sum(_product(*found[path]) for path in parts["mlp"] + ([] if change_qkv else parts["qkv"]))
    heads = [path for path in parts["head"] if len(found[path][0]) != 1000]
    return total + sum(_product(*found[path]) for path in heads)


def _released_pass(candidate: Candidate) -> Pairs:
    network = candidate.copy(dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] in ("cls_token", "pos_embed"):
                parameter.abs_()
    with torch.enable_grad():
        ones = torch.ones_like(candidate.images[:1], dtype=torch.float64)
        found = weight_gradients(network, logits(network, ones).sum())
    candidate.spend(1 / len(candidate.images))
    return found


def autoprox_a(candidate: Candidate, head: bool = False) -> float:
    """Sum over MSA matrices of ||dR/dW||_1 plus sum over MLP matrices of mean sigmoid(dR/dW) (Auto-Prox, AAAI 2024).

    SynFlow's protocol. The MLP terms are near 0.5 each, so the score is in effect the MSA part. head=True adds the head
    like an MLP layer.
    """
    found = positive_pass(candidate)
    parts = _parts(candidate, found)
    total = sum(float(found[path][1].abs().sum()) for path in parts["qkv"] + parts["proj"])
    mlp = parts["mlp"] + (parts["head"] if head else [])
    return total + sum(float(found[path][1].sigmoid().mean()) for path in mlp)


PROXIES = (
    Proxy(
        "dss",
        "saliency",
        dss,
        1,
        GRADIENTS,
        1.0,
        "TF-TAS, Zhou et al. 2022, as published",
        {"head": False, "qkv": "whole"},
        {"qkv": ("whole", "split")},
    ),
    Proxy("dss-released", "saliency", dss_released, 1, GRADIENTS, 1.0, "TF-TAS code as released", {"change_qkv": True}),
    Proxy("autoprox-a", "saliency", autoprox_a, 1, GRADIENTS, 0.1, "Auto-Prox, Wei et al. 2024", {"head": False}),
)
