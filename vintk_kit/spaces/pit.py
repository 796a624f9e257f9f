"""PiT spaces of TF-TAS and ViT-Bench-101: three stages of transformer blocks with pooling between them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value, one_of
from vintk_kit.spaces.base import Architecture, SearchSpace
from vintk_kit.spaces.vit import block_skeleton
from vintk_kit.spaces.weights import clone_skeleton

PATCH, STRIDE, EPS = 16, 8, 1e-6

BASE_DIMS = {"ti": (16, 24, 32, 40), "xs": (40, 48, 56, 64), "s": (36, 48, 60, 72)}
HEADS = {"ti": (2, 4, 8), "xs": (2, 4, 8), "s": (3, 6, 12)}
PUBLISHED = {
    "ti": {"base_dim": 40, "mlp_ratio": 2, "depth": (2, 4, 4), "num_heads": (2, 4, 8)},
    "xs": {"base_dim": 56, "mlp_ratio": 2, "depth": (1, 4, 2), "num_heads": (2, 8, 8)},
    "s": {"base_dim": 36, "mlp_ratio": 6, "depth": (1, 4, 4), "num_heads": (3, 12, 12)},
}


class OverlapEmbed(nn.Module):
    """Overlapping patches: one convolution of kernel 16 and stride 8."""

    def __init__(self, in_channels: int, dim: int, device: str | None = None) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, PATCH, STRIDE, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, D, h, w)."""
        return self.proj(x)


class Pooling(nn.Module):
    """Depthwise 3x3 convolution of stride 2 for the patches, a Linear layer for the class token."""

    def __init__(self, dim: int, out: int, device: str | None = None) -> None:
        super().__init__()
        # One group per input channel, as released, whenever the width does not shrink.
        self.conv = nn.Conv2d(dim, out, 3, 2, 1, groups=gcd(dim, out), device=device)
        self.fc = nn.Linear(dim, out, device=device)

    def forward(self, x: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, D, h, w) and class token (N, 1, D) -> both at the next width."""
        return self.conv(x), self.fc(token)


class Stage(nn.Module):
    """Pooling (but in the first stage), then blocks."""

    def __init__(self, pool: Pooling | None, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.pool = pool
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, D, h, w) and class token (N, 1, D) -> the same at this stage."""
        if self.pool is not None:
            x, token = self.pool(x, token)
        n, dim, height, width = x.shape
        tokens = self.blocks(torch.cat([token, x.flatten(2).transpose(1, 2)], dim=1))
        return tokens[:, 1:].transpose(1, 2).reshape(n, dim, height, width), tokens[:, :1]


class PiT(nn.Module):
    """Pooling-based Vision Transformer; the class token is classified."""

    def __init__(self, stages: list[Stage], dims: tuple[int, ...], channels: int, classes: int, grid: int) -> None:
        super().__init__()
        self.patch_embed = OverlapEmbed(channels, dims[0], "meta")
        self.pos_embed = nn.Parameter(torch.zeros(1, dims[0], grid, grid, device="meta"))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims[0], device="meta"))
        self.transformers = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dims[-1], eps=EPS, device="meta")
        self.head = nn.Linear(dims[-1], classes, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> logits (N, C)."""
        x = self.patch_embed(x) + self.pos_embed
        token = self.cls_token.expand(x.shape[0], -1, -1)
        for stage in self.transformers:
            x, token = stage(x, token)
        return self.head(self.norm(token[:, 0]))


@lru_cache(maxsize=512)
def _pool_template(dim: int, out: int) -> Pooling:
    return Pooling(dim, out, "meta").eval()


@lru_cache(maxsize=512)
def _shell_template(dims: tuple[int, ...], channels: int, classes: int, grid: int) -> PiT:
    return PiT([], dims, channels, classes, grid).eval()


class PiTSpace(SearchSpace):
    """PiT with one base width, one MLP ratio, and depth and heads per stage; stage width = base_dim x heads.

    Args:
        size: "ti", "xs" or "s".
        grid: "released" keeps heads from falling from stage to stage, as every released architecture does;
            "full" takes all triples. Where heads fall, the pooling's groups are the common divisor of the widths.
    """

    reference = "Zhou et al., TF-TAS, CVPR 2022 (arXiv 2203.12217); Wei et al., ViT-Bench-101 (arXiv 2312.09059)"
    lengths = {"depth": 3, "num_heads": 3}
    depth_options = ((1, 2, 3), (4, 6, 8), (2, 4, 6))

    def __init__(self, size: str, grid: str = "released") -> None:
        self.grid = one_of("grid", grid, ("released", "full"))
        self.name, self.variant = f"pit-{size}", size
        self.choices = {
            "base_dim": BASE_DIMS[size],
            "mlp_ratio": (2, 4, 6, 8),
            "depth": tuple(sorted({d for options in self.depth_options for d in options})),
            "num_heads": HEADS[size],
        }

    def allowed(self, choices: Mapping[str, Any]) -> bool:
        """Each stage's depth from its own options; heads that do not fall, unless the grid is full."""
        depths = all(d in options for d, options in zip(choices["depth"], self.depth_options, strict=True))
        heads = choices["num_heads"]
        return depths and (self.grid == "full" or list(heads) == sorted(heads))

    def size(self) -> int:
        """The exact number of architectures."""
        heads = len(self.choices["num_heads"])
        triples = heads**3 if self.grid == "full" else heads * (heads + 1) * (heads + 2) // 6
        return len(self.choices["base_dim"]) * len(self.choices["mlp_ratio"]) * 27 * triples

    def published(self) -> dict[str, Architecture]:
        """TF-TAS's searched architecture."""
        return {f"TF-TAS-PiT-{self.variant.upper()}": self.architecture(**PUBLISHED[self.variant])}

    def describe(self):
        """A table of the choices, with the depths of each stage."""
        frame = super().describe()
        stages = "; ".join(", ".join(map(str, options)) for options in self.depth_options)
        frame.loc[frame["field"] == "depth", "options"] = f"by stage: {stages}"
        return frame

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """The image must hold one patch."""
        if image_size < PATCH:
            raise bad_value("image_size", image_size, f"at least the patch size {PATCH}")

    def _dims(self, arch: Architecture) -> tuple[int, ...]:
        return tuple(arch["base_dim"] * heads for heads in arch["num_heads"])

    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> PiT:
        """The network on the meta device, assembled from cached parts."""
        dims, side = self._dims(arch), (image_size - PATCH) // STRIDE + 1
        network = clone_skeleton(_shell_template(dims, in_channels, num_classes, side))
        for i, (dim, depth, heads) in enumerate(zip(dims, arch["depth"], arch["num_heads"], strict=True)):
            pool = clone_skeleton(_pool_template(dims[i - 1], dim)) if i else None
            hidden = dim * arch["mlp_ratio"]
            blocks = [block_skeleton(dim, heads, arch["base_dim"], hidden, EPS) for _ in range(depth)]
            network.transformers.append(Stage(pool, blocks))
        network.transformers.eval()
        return network

    def largest(self) -> list[Architecture]:
        """The widest, deepest network; with falling heads also those whose pooling kernels are largest."""
        top = {name: max(options) for name, options in self.choices.items()}
        top["depth"] = tuple(max(options) for options in self.depth_options)
        heads = self.choices["num_heads"]
        triples = {(max(heads),) * 3}
        if self.grid == "full":
            triples |= {(a, b, c) for a in heads for b in heads for c in heads}
        return [self.architecture(**top | {"num_heads": triple}) for triple in sorted(triples)]

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        """Truncated normal 0.02 for tokens and Linear layers, torch's default for convolutions."""
        if len(shape) == 4 and name != "pos_embed":
            return ("uniform", (shape[1] * shape[2] * shape[3]) ** -0.5)
        return super().initial(name, shape)

    def params(
        self, arch: Architecture, *, in_channels: int = 3, num_classes: int | None = None, image_size: int | None = None
    ) -> int:
        """Number of parameters, by formula; equal to the built network's count."""
        arch, channels, classes, size = self.resolve(arch, in_channels, num_classes, image_size)
        dims, side = self._dims(arch), (size - PATCH) // STRIDE + 1
        total = dims[0] * (channels * PATCH**2 + 1 + side**2 + 1) + 2 * dims[-1] + classes * (dims[-1] + 1)
        for i, (dim, depth) in enumerate(zip(dims, arch["depth"], strict=True)):
            hidden = dim * arch["mlp_ratio"]
            total += depth * (4 * dim + 4 * dim * (dim + 1) + hidden * (dim + 1) + dim * (hidden + 1))
            if i:
                before = dims[i - 1]
                total += dim * (9 * before // gcd(before, dim) + 1) + dim * (before + 1)
        return total

    def macs(
        self,
        arch: Architecture,
        *,
        in_channels: int = 3,
        num_classes: int | None = None,
        image_size: int | None = None,
        convention: str = "exact",
    ) -> int:
        """Multiply-accumulates of one image, by formula.

        Args:
            arch: The architecture.
            in_channels: Channels of the input.
            num_classes: Number of logits.
            image_size: Side of the input.
            convention: "exact" counts every convolution and matrix product; "released" counts what THOP sees in the
                ViT-Bench-101 network: convolutions and Linear layers, and four operations per entry of a LayerNorm,
                but neither of the two attention products.
        """
        one_of("convention", convention, ("exact", "released"))
        arch, channels, classes, size = self.resolve(arch, in_channels, num_classes, image_size)
        dims, side = self._dims(arch), (size - PATCH) // STRIDE + 1
        total = side**2 * dims[0] * channels * PATCH**2 + dims[-1] * classes
        for i, (dim, depth) in enumerate(zip(dims, arch["depth"], strict=True)):
            if i:
                before, side = dims[i - 1], (side + 1) // 2
                total += side**2 * dim * 9 * (before // gcd(before, dim)) + before * dim
            tokens = side**2 + 1
            total += depth * tokens * dim * dim * (4 + 2 * arch["mlp_ratio"])
            total += depth * (2 * tokens**2 * dim if convention == "exact" else 8 * tokens * dim)
        return total + (0 if convention == "exact" else 4 * dims[-1])
