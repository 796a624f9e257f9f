"""Four-stage Vision Transformers with window attention: the networks of the As-ViT and the Swin-like space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from vintk_kit.spaces.weights import from_cache

EPS = 1e-5


@dataclass(frozen=True)
class WindowStage:
    """One stage: `depth` blocks on a `side` x `side` grid of tokens of width `dim`.

    Attributes:
        merge: Kernel of the patch merging that ends the stage; None in the last.
        shifted: Every second block moves its windows by half a window.
    """

    dim: int
    depth: int
    heads: int
    hidden: int
    side: int
    window: int
    merge: int | None
    shifted: bool = False


class WindowAttention(nn.Module):
    """Self-attention inside windows; the Linear layers see all tokens of a sample together, (N, T, D).

    The rows of `qkv` are interleaved (q_0, k_0, v_0, q_1, ...), as in the kit's Vision Transformer.
    """

    def __init__(self, dim: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.side, self.window, self.shift = side, window, shift
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("mask", _shift_mask(side, window, shift) if shift else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        n, _, dim = x.shape
        count, area = (self.side // self.window) ** 2, self.window**2
        qkv = self._split(self.qkv(x))
        qkv = qkv.reshape(n, count, area, self.num_heads, self.head_dim, 3)
        q, k, v = qkv.permute(5, 0, 1, 3, 2, 4).unbind(0)  # each (N, windows, H, area, head_dim)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if self.mask is not None:
            logits = logits + self.mask[:, None]
        out = self.attn_drop(logits.softmax(dim=-1)) @ v
        return self.proj(self._join(out.transpose(2, 3).reshape(n, count, area, dim)))

    def _split(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.side, self.side))
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        return _windows(x, self.window)

    def _join(self, x: Tensor) -> Tensor:
        n, _, _, dim = x.shape
        rows = self.side // self.window
        x = x.view(n, rows, rows, self.window, self.window, dim).transpose(2, 3).reshape(n, self.side, self.side, dim)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x.flatten(1, 2)


def _windows(x: Tensor, window: int) -> Tensor:
    n, side, _, dim = x.shape
    rows = side // window
    x = x.reshape(n, rows, window, rows, window, dim).transpose(2, 3)
    return x.reshape(n, rows * rows, window * window, dim)


def _shift_mask(side: int, window: int, shift: int) -> Tensor:
    """(windows, area, area): -100 between tokens that the cyclic shift brought together."""
    step = torch.arange(side, device="cpu")
    band = (step >= side - window).long() + (step >= side - shift).long()
    region = (3 * band[:, None] + band[None, :]).view(1, side, side, 1)
    flat = _windows(region, window)[0, :, :, 0]
    return (flat[:, :, None] != flat[:, None, :]).float() * -100.0


class WindowBlock(nn.Module):
    """Pre-norm block with window attention."""

    def __init__(self, dim: int, heads: int, hidden: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = WindowAttention(dim, heads, side, window, shift)
        self.drop_path1 = nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, hidden)
        self.drop_path2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class PatchStem(nn.Module):
    """Patches of a kernel at least as large as their stride of 4, then a norm."""

    def __init__(self, channels: int, dim: int, kernel: int) -> None:
        super().__init__()
        before, after = (kernel - 4) // 2, (kernel - 3) // 2
        self.pad = (before, after, before, after)
        self.proj = nn.Conv2d(channels, dim, kernel, 4)
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, T, D)."""
        return self.norm(self.proj(F.pad(x, self.pad)).flatten(2).transpose(1, 2))


class PatchMerge(nn.Module):
    """Gathers a kernel x kernel neighbourhood at stride 2, norm, Linear to twice the width."""

    def __init__(self, dim: int, side: int, kernel: int) -> None:
        super().__init__()
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        self.pad, self.side, self.kernel = (before, after, before, after), side, kernel
        self.norm = nn.LayerNorm(kernel**2 * dim, eps=EPS)
        self.reduction = nn.Linear(kernel**2 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T / 4, 2 D)."""
        x = F.pad(x.transpose(1, 2).unflatten(2, (self.side, self.side)), self.pad)
        return self.reduction(self.norm(F.unfold(x, self.kernel, stride=2).transpose(1, 2)))


class Stage(nn.Module):
    """Blocks, then patch merging."""

    def __init__(self, blocks: list[nn.Module], merge: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.merge = merge

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T / 4, 2 D), or (N, T, D) in the last stage."""
        x = self.blocks(x)
        return x if self.merge is None else self.merge(x)


class WindowViT(nn.Module):
    """Patch stem, optional absolute positions, stages, norm, mean over tokens, classifier."""

    def __init__(self, stem: nn.Module, positions: int, dim: int, stages: list[Stage], tail: list[nn.Module]) -> None:
        super().__init__()
        self.patch_embed = stem
        self.pos_embed = nn.Parameter(torch.empty(1, positions, dim, device="meta")) if positions else None
        self.stages = nn.ModuleList(stages)
        self.norm, self.head = tail

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> normalised tokens of the last stage (N, T, D)."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> logits (N, C)."""
        return self.head(self.forward_features(x).mean(dim=1))


def _wide_head(dim: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, classes))


def _norm(dim: int) -> nn.Module:
    return nn.LayerNorm(dim, eps=EPS)


def window_skeleton(
    stages: tuple[WindowStage, ...], kernel: int, channels: int, classes: int, *, positions: bool, wide_head: bool
) -> WindowViT:
    """The network on the meta device, assembled from cached parts."""
    built = []
    for stage in stages:
        blocks = []
        for index in range(stage.depth):
            shift = stage.window // 2 if stage.shifted and index % 2 and stage.window < stage.side else 0
            blocks.append(
                from_cache(WindowBlock, stage.dim, stage.heads, stage.hidden, stage.side, stage.window, shift)
            )
        merge = None if stage.merge is None else from_cache(PatchMerge, stage.dim, stage.side, stage.merge)
        built.append(Stage(blocks, merge))
    first, last = stages[0], stages[-1]
    tail = [from_cache(_norm, last.dim), from_cache(_wide_head if wide_head else nn.Linear, last.dim, classes)]
    stem = from_cache(PatchStem, channels, first.dim, kernel)
    return WindowViT(stem, first.side**2 if positions else 0, first.dim, built, tail).eval()


def window_params(
    stages: tuple[WindowStage, ...], kernel: int, channels: int, classes: int, *, positions: bool, wide_head: bool
) -> int:
    """Number of parameters of the network `window_skeleton` makes."""
    first, last = stages[0], stages[-1]
    total = first.dim * (channels * kernel**2 + 3) + (first.side**2 * first.dim if positions else 0)
    for stage in stages:
        dim, hidden = stage.dim, stage.hidden
        total += stage.depth * (4 * dim + 4 * dim * (dim + 1) + hidden * (dim + 1) + dim * (hidden + 1))
        if stage.merge is not None:
            inner = stage.merge**2 * dim
            total += 2 * inner + 2 * inner * dim
    total += last.dim * (last.dim + 1) if wide_head else 0
    return total + 2 * last.dim + classes * (last.dim + 1)
