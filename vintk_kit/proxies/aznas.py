"""AZ-NAS (Lee and Ham, CVPR 2024): expressivity, progressivity, trainability, complexity.

Features of a ViT are the residual stream after each attention and each MLP; of a CNN the stem and the outputs of cells
or blocks. Eval mode for ViTs, batch statistics for CNNs, as released (without its re-initialisation). The
input is Gaussian noise like the images (`inputs="noise"`, as published) or the batch (`inputs="data"`).
Their aggregation is `log_rank` over the columns.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError
from vintk_kit.proxies.base import GRADIENTS, Proxy
from vintk_kit.proxies.candidate import Candidate, transformer_blocks
from vintk_kit.proxies.size import macs

_CELL = re.compile(r"(?:stem|(?:blocks|cells|body|layers|layer\d+|stages)\.\d+)$")


@dataclass(frozen=True)
class Az:
    """Entropies of the features in order, and trainability of neighbours from last to first."""

    entropies: list[float]
    trainability: list[float]


def az_pass(network: nn.Module, images: Tensor, signs: Callable[[tuple[int, ...]], Tensor]) -> Az:
    """Computes both lists on one forward and one backward per pair of neighbours.

    Args:
        network: The network.
        images: (N, c, H, W).
        signs: Draws ±1 of a shape.

    Raises:
        UnsupportedModuleError: Fewer than two features.
    """
    features: list[Tensor] = []
    blocks = transformer_blocks(network)
    if blocks:
        for _, block in blocks:
            block.norm2.register_forward_pre_hook(lambda _module, args: features.append(args[0]))
            block.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    else:
        for path, module in network.named_modules():
            if _CELL.match(path):
                module.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    with torch.enable_grad():
        network(images)
        if len(features) < 2:
            raise UnsupportedModuleError(f"{type(network).__name__} has no blocks or cells to read features from")
        scores = []
        for before, after in reversed(list(itertools.pairwise(features))):
            score = _trainability(before, after, signs)
            scores += [] if score is None else [score]
    return Az([_entropy(feature.detach()) for feature in features], scores)


def _rows(feature: Tensor, tokens: bool) -> Tensor:
    feature = feature if tokens else feature.permute(0, 2, 3, 1)
    return feature.reshape(-1, feature.shape[-1])


def _is_tokens(feature: Tensor) -> bool:
    return feature.ndim == 3


def _entropy(feature: Tensor) -> float:
    rows = _rows(feature, _is_tokens(feature)).double()
    rows = rows - rows.mean(0, keepdim=True)
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    share = values / values.sum()
    return float(-(share * (share + 1e-8).log()).sum())


def _trainability(before: Tensor, after: Tensor, signs: Callable[[tuple[int, ...]], Tensor]) -> float | None:
    """2 - s - 1/(s + 1e-6), s the largest singular value of g_inᵀ g_out / rows; None where the token counts differ."""
    out = signs(tuple(after.shape)).to(after)
    if _is_tokens(after) and before.shape[1] != after.shape[1]:
        return None
    (inner,) = torch.autograd.grad(after, before, out, retain_graph=True)
    if inner.ndim == 4 and inner.shape[-1] != out.shape[-1]:
        inner = F.pixel_unshuffle(inner, inner.shape[-1] // out.shape[-1])
    first, second = (_rows(g, _is_tokens(g)).double() for g in (inner, out))
    largest = float(torch.linalg.matrix_norm(first.T @ second / len(second), 2))
    return 2 - largest - 1 / (largest + 1e-6)


def _az(candidate: Candidate, inputs: str) -> Az:
    return candidate.cached(("az", inputs), lambda: _compute(candidate, inputs))


def _compute(candidate: Candidate, inputs: str) -> Az:
    generator = torch.Generator().manual_seed(1_000_003 * (candidate.seed + 1) + 6)
    images = candidate.images if inputs == "data" else candidate.noise(7, *candidate.images.shape)
    network = candidate.copy("eval" if transformer_blocks(candidate.network) else "train")
    candidate.spend(1.0)
    return az_pass(network, images, lambda shape: 2.0 * torch.randint(0, 2, shape, generator=generator) - 1)


def expressivity(candidate: Candidate, inputs: str = "noise") -> float:
    """Sum over features of the entropy of the normalised eigenvalues of their covariance over images and positions."""
    return sum(_az(candidate, inputs).entropies)


def progressivity(candidate: Candidate, inputs: str = "noise") -> float:
    """Smallest growth of expressivity between neighbours; the authors leave it out for ViTs."""
    values = _az(candidate, inputs).entropies
    return min(after - before for before, after in itertools.pairwise(values))


def trainability(candidate: Candidate, inputs: str = "noise") -> float:
    """Mean over neighbours of 2 - s - 1/(s + 1e-6), s the spectral norm of g_inᵀ g_out / (N T), g_out random signs.

    0 at best, where gradients keep their size. Neighbours with different token counts (PiT's pooling) are left out.
    """
    values = _az(candidate, inputs).trainability
    return sum(values) / len(values)


def complexity(candidate: Candidate) -> float:
    """Multiply-adds as counted by TF-TAS and AZ-NAS in AutoFormer networks; of the space for all others.

    With n patches and T = n + 2 (the released code counts one token too many):
    n |W_patch| + D + (n+1)D/2 + sum of [2TD + T|qkv| + 2T²D_qk + T|proj| + T(|fc1| + |fc2|)] + (n+1)|head|.
    """
    network = candidate.network
    blocks = transformer_blocks(network)
    if not blocks or not hasattr(network, "patch_embed") or not hasattr(network, "blocks") or not _plain(blocks):
        return macs(candidate)
    patch = network.patch_embed.proj.weight
    side = candidate.images.shape[-1] // patch.shape[-1]
    n, width = side * side, patch.shape[0]
    tokens = n + 2
    total = n * patch.numel() + width + (n + 1) * width / 2 + (n + 1) * network.head.weight.numel()
    for _, block in blocks:
        linear = [block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2]
        total += 2 * tokens * width + tokens * sum(layer.weight.numel() for layer in linear)
        total += 2 * tokens**2 * block.attn.qkv.weight.shape[0] // 3
    return float(total)


def _plain(blocks: list[tuple[str, nn.Module]]) -> bool:
    return all(hasattr(b.attn, "qkv") and hasattr(b, "mlp") and hasattr(b.mlp, "fc1") for _, b in blocks)


_SOURCE = "AZ-NAS, Lee and Ham 2024"
_INPUTS = ({"inputs": "noise"}, {"inputs": ("noise", "data")})
PROXIES = (
    Proxy("az-expressivity", "az-nas", expressivity, 1, GRADIENTS, 1.0, _SOURCE, *_INPUTS),
    Proxy("az-progressivity", "az-nas", progressivity, 1, GRADIENTS, 1.0, _SOURCE, *_INPUTS),
    Proxy("az-trainability", "az-nas", trainability, 1, GRADIENTS, 1.0, _SOURCE, *_INPUTS),
    Proxy("az-complexity", "az-nas", complexity, 1, frozenset(), 0.0, _SOURCE + "; TF-TAS's count"),
)
