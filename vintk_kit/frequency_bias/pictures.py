"""Frequency responses of real networks: a ViT, a CNN and an MLP on photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vintk_kit.fourier import FourierFeatures
from vintk_kit.frequency_bias.regression import PHOTOGRAPHS, photograph
from vintk_kit.frequency_bias.spectra import feature_spectra, high_frequency_drop
from vintk_kit.ntk import frequency_response
from vintk_kit.spaces import get_space
from vintk_kit.specs import parse_spec

FREQUENCIES = (1, 2, 3, 4, 6, 8, 11, 15)
"""Cycles per image at 32 pixels, up to just below the Nyquist frequency of 16."""


def photographs(n: int = 8, *, size: int = 32, seed: int = 0) -> Tensor:
    """Random square crops of photographs that ship with scikit-image, normalised per channel.

    Args:
        n: Images.
        size: Pixels per side.
        seed: Seed of the crops.

    Returns:
        Tensor (n, 3, size, size), float32, mean 0 and deviation 1 per channel over the batch.
    """
    rng = np.random.default_rng(seed)
    sources = [photograph(name, 4 * size) for name in PHOTOGRAPHS]
    crops = []
    for index in range(n):
        top, left = rng.integers(0, 3 * size, 2)
        crops.append(sources[index % len(sources)][top : top + size, left : left + size])
    images = torch.from_numpy(np.stack(crops)).float().permute(0, 3, 1, 2)
    spread, mean = torch.std_mean(images, (0, 2, 3), keepdim=True)
    return ((images - mean) / spread).contiguous()


def small_vit(depth: int = 4, *, seed: int = 0) -> nn.Module:
    """An untrained timm ViT for 32 pixels: patch 4, width 96, 3 heads.

    Args:
        depth: Blocks.
        seed: Seed of the weights.
    """
    from timm.layers import set_fused_attn
    from timm.models.vision_transformer import VisionTransformer

    set_fused_attn(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionTransformer(
            img_size=32, patch_size=4, embed_dim=96, depth=depth, num_heads=3, num_classes=10
        ).eval()


def reference_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Untrained networks for 32-pixel images: a ViT, a CNN (one NAS-Bench-201 architecture) and an MLP."""
    cells = get_space("nasbench201")
    cell = cells.parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mlp = nn.Sequential(nn.Flatten(), nn.Linear(3072, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(),
                            nn.Linear(256, 10))  # fmt: skip
    return {"ViT": small_vit(seed=seed), "CNN": cells.build(cell, num_classes=10, image_size=32, seed=seed),
            "MLP": mlp.eval()}  # fmt: skip


def network_responses(
    networks: Mapping[str, nn.Module], images: Tensor, *, groups: Sequence[str] = ("all",),
    frequencies: Sequence[float] = FREQUENCIES, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Frequency response of the tangent kernel of several networks.

    Args:
        networks: Networks by name.
        images: Batch (N, 3, H, W).
        groups: Layer groups, such as "attention" or "all".
        frequencies: Cycles per image of the added sinusoids.
        seed: Seed of their directions and phases.

    Returns:
        Columns network, frequency, group, response.
    """
    parts = [group for group in groups if group != "all"]
    frames = [
        frequency_response(network, images, frequencies, groups=parts, seed=seed).assign(network=name)
        for name, network in networks.items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    return frame[frame["group"].isin(groups)].reset_index(drop=True)


def depth_responses(depths: Sequence[int], images: Tensor, *, seed: int = 0) -> pd.DataFrame:
    """Frequency response of small ViTs of several depths; the column network names the depth."""
    return network_responses({f"{depth} blocks": small_vit(depth, seed=seed) for depth in depths}, images, seed=seed)


def variant_responses(network: nn.Module, images: Tensor, variants: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Frequency response of one network behind several Fourier variants of its input.

    Args:
        network: Takes three channels.
        images: Batch (N, 3, H, W).
        variants: Specs of `FourierFeatures` that keep three channels, such as "highpass(low=4)".
        seed: Seed of the sinusoids.

    Returns:
        Columns variant, frequency, group, response.
    """
    frames = []
    for text in variants:
        spec = parse_spec(text)
        mapped = nn.Sequential(_Mapping(FourierFeatures(kind=spec.name, **spec.kwargs)), network).eval()
        frames.append(frequency_response(mapped, images, FREQUENCIES, groups=(), seed=seed).assign(variant=text))
    return pd.concat(frames, ignore_index=True)


class _Mapping(nn.Module):
    """An input mapping as the first layer of a network; it has no parameters."""

    def __init__(self, features: FourierFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


def network_drops(networks: Mapping[str, nn.Module], images: Tensor) -> pd.DataFrame:
    """`high_frequency_drop` of several networks; networks without feature maps (MLPs) are left out."""
    frames = []
    for name, network in networks.items():
        if any(isinstance(module, nn.Conv2d) for module in network.modules()):
            frames.append(high_frequency_drop(feature_spectra(network, images)).assign(network=name))
    return pd.concat(frames, ignore_index=True)
