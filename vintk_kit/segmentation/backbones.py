"""Feature maps at strides 4, 8, 16 and 32 from any network: hybrid-hr as it is, others through a feature pyramid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError, UnsupportedModuleError
from vintk_kit.segmentation.network import EPS, STRIDES, HybridHRNet, resized
from vintk_kit.spaces.pit import PiT
from vintk_kit.spaces.vit import ViT

PYRAMID = 96
"""Width of every level of the feature pyramid."""


class HRFeatures(nn.Module):
    """The four branches of a `HybridHRNet`."""

    fixed_size: int | None = None

    def __init__(self, network: HybridHRNet) -> None:
        super().__init__()
        network.head = None
        self.network, self.channels = network, network.channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, c, H, W) -> four maps."""
        return self.network.features(x)


class ViTMaps(nn.Module):
    """Patch tokens of a kit ViT after each quarter of its blocks, as maps."""

    def __init__(self, network: ViT) -> None:
        super().__init__()
        network.head = nn.Identity()
        self.network, depth = network, len(network.blocks)
        self.taps = sorted({max(0, (level + 1) * depth // len(STRIDES) - 1) for level in range(len(STRIDES))})

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, c, S, S) -> maps (N, D, S / patch, S / patch)."""
        net, found = self.network, []
        x = net.patch_embed(x)
        x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], dim=1) + net.pos_embed
        for index, block in enumerate(net.blocks):
            x = block(x)
            if index in self.taps:
                tokens = net.norm(x) if index == len(net.blocks) - 1 else x
                found.append(tokens[:, 1:].transpose(1, 2).unflatten(2, (net.config.grid, net.config.grid)))
        return found


class PiTMaps(nn.Module):
    """Maps after each of the three stages of a PiT."""

    def __init__(self, network: PiT) -> None:
        super().__init__()
        network.head = network.norm = nn.Identity()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, c, S, S) -> three maps."""
        net, found = self.network, []
        x = net.patch_embed(x) + net.pos_embed
        token = net.cls_token.expand(len(x), -1, -1)
        for stage in net.transformers:
            x, token = stage(x, token)
            found.append(x)
        return found


class TimmMaps(nn.Module):
    """Intermediate maps of a timm model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise UnsupportedModuleError(
                f"{type(network).__name__} gives no intermediate maps; allowed: timm models with forward_intermediates"
            )
        self.network = network
        self.taps = network.prune_intermediate_layers(None, prune_norm=True, prune_head=True)
        if isinstance(getattr(network, "blocks", None), nn.Sequential) and len(self.taps) > len(STRIDES):
            count = len(self.taps)
            self.taps = [self.taps[(level + 1) * count // len(STRIDES) - 1] for level in range(len(STRIDES))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, c, H, W) -> maps (N, D, h, w)."""
        return self.network.forward_intermediates(
            x, indices=self.taps, intermediates_only=True, output_fmt="NCHW", norm=False
        )


class FeaturePyramid(nn.Module):
    """Brings the maps of a backbone to strides 4, 8, 16 and 32 by 1x1 convolutions and resizing.

    A level takes the map of the nearest stride; where all strides are equal (plain ViTs), maps of growing depth.

    Attributes:
        channels: Width of every level.
        fixed_size: Side of the images, if the backbone takes only one.
    """

    def __init__(self, maps: nn.Module, size: int, fixed: bool, in_channels: int = 3) -> None:
        super().__init__()
        self.maps, self.fixed_size = maps.eval(), size if fixed else None
        with torch.no_grad():
            found = maps(torch.zeros(1, in_channels, size, size))
        strides = [size / part.shape[-1] for part in found]
        if len(set(strides)) == 1:
            self.sources = [level * len(found) // len(STRIDES) for level in range(len(STRIDES))]
        else:
            self.sources = [
                min(range(len(found)), key=lambda i, stride=stride: (abs(strides[i] - stride), -i))
                for stride in STRIDES
            ]
        self.channels = (PYRAMID,) * len(STRIDES)
        self.lateral = nn.ModuleList([
            nn.Sequential(nn.GroupNorm(1, found[i].shape[1], eps=EPS), nn.Conv2d(found[i].shape[1], PYRAMID, 1))
            for i in self.sources
        ])  # fmt: skip

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, c, H, W) -> four maps (N, 96, H / stride, W / stride)."""
        maps = self.maps(x)
        return [
            resized(lateral(maps[i]), (x.shape[-2] // stride, x.shape[-1] // stride))
            for i, lateral, stride in zip(self.sources, self.lateral, STRIDES, strict=True)
        ]


def as_backbone(network: nn.Module, image_size: int) -> nn.Module:
    """Turns a network of any space into a backbone with `channels`, `fixed_size` and four maps.

    Raises:
        UnsupportedModuleError: If the kit knows no maps of this network.
        InputError: If its unused layers cannot be told.
    """
    if isinstance(network, HybridHRNet):
        return HRFeatures(network)
    if isinstance(network, ViT):
        return FeaturePyramid(ViTMaps(network), image_size, fixed=True)
    if isinstance(network, PiT):
        return FeaturePyramid(PiTMaps(network), image_size, fixed=True)
    if type(network).__module__.startswith("timm."):
        fixed = getattr(network, "pos_embed", None) is not None or hasattr(network, "patch_embed")
        return FeaturePyramid(TimmMaps(network), image_size, fixed=fixed)
    raise UnsupportedModuleError(
        f"{type(network).__name__} has no feature maps for segmentation; allowed: hybrid-hr, ViT spaces (autoformer-*,"
        " deit-*, microvit-32), pit-*, timm(names=...)"
    )


def check_square(crop: tuple[int, int], network: nn.Module) -> None:
    """Raises `InputError` if a backbone of one square size is asked for other crops."""
    fixed = network.backbone.fixed_size
    if fixed is not None and crop != (fixed, fixed):
        raise InputError(f"crop: got {crop[0]} x {crop[1]}; allowed: {fixed} x {fixed}, the size of this backbone")
