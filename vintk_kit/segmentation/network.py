"""Multi-resolution networks for dense prediction: parallel branches at strides 4, 8, 16 and 32 that exchange features.

Every parameter belongs to a Linear, Conv2d or LayerNorm layer, none couples samples, and there are no position tables,
so the tangent kernel is exact and any image whose sides are multiples of 32 fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, Mlp
from torch import Tensor, nn

from vintk_kit.errors import bad_value
from vintk_kit.spaces.weights import from_cache

EPS = 1e-5
STRIDES = (4, 8, 16, 32)
COARSEST = STRIDES[-1]


@dataclass(frozen=True)
class Cell:
    """The blocks of one branch in one stage.

    Attributes:
        dim: Width D.
        heads: Attention heads.
        depth: Number of blocks.
        mixer: "attention", "conv" or "both".
        hidden: Width of the hidden MLP layer.
        window: Side of the attention windows.
        kernel: Side of the depthwise convolution.
    """

    dim: int
    heads: int
    depth: int
    mixer: str
    hidden: int
    window: int
    kernel: int


class WindowAttention(nn.Module):
    """Self-attention inside windows of a map of any size; the Linear layers see the map as it is.

    A map that the window does not divide is filled up after `qkv`, and the filling is masked. Rows of `qkv` are
    interleaved (q_0, k_0, v_0, q_1, ...), so that leading slices of a wider layer are a narrower layer.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.window = heads, dim // heads, window
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, D) -> (N, h, w, D)."""
        n, height, width, dim = x.shape
        side = min(self.window, max(height, width))
        down, right = -height % side, -width % side
        qkv = F.pad(self.qkv(x), (0, 0, 0, right, 0, down))
        rows, columns = (height + down) // side, (width + right) // side
        qkv = qkv.view(n, rows, side, columns, side, self.num_heads, self.head_dim, 3)
        qkv = qkv.permute(7, 0, 1, 3, 5, 2, 4, 6).flatten(5, 6)  # (3, N, rows, columns, H, area, head_dim)
        q, k, v = qkv.flatten(1, 3).unbind(0)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if down or right:
            logits = logits + _padding_mask(height, width, side, x).repeat(n, 1, 1, 1)
        out = self.attn_drop(logits.softmax(dim=-1)) @ v
        out = out.view(n, rows, columns, self.num_heads, side, side, self.head_dim)
        out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(n, rows * side, columns * side, dim)
        return self.proj(out[:, :height, :width])


def _padding_mask(height: int, width: int, side: int, like: Tensor) -> Tensor:
    """(windows, 1, 1, area): -100 where the key is filling."""
    filling = torch.full((height, width), 0.0, dtype=like.dtype, device=like.device)
    filling = F.pad(filling, (0, -width % side, 0, -height % side), value=-100.0)
    rows, columns = filling.shape[0] // side, filling.shape[1] // side
    return filling.view(rows, side, columns, side).transpose(1, 2).reshape(rows * columns, 1, 1, side * side)


class ConvMixer(nn.Module):
    """Depthwise convolution, GELU, 1x1 convolution."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.act = nn.GELU()
        self.pointwise = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, D) -> (N, h, w, D)."""
        x = x.permute(0, 3, 1, 2)
        return self.pointwise(self.act(self.depthwise(x))).permute(0, 2, 3, 1)


class HybridBlock(nn.Module):
    """Pre-norm block whose mixer is window attention, a depthwise convolution, or the sum of both."""

    def __init__(self, dim: int, heads: int, mixer: str, hidden: int, window: int, kernel: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        if mixer != "conv":
            self.attn = WindowAttention(dim, heads, window)
        if mixer != "attention":
            self.conv = ConvMixer(dim, kernel)
        self.drop_path1 = nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, hidden)
        self.drop_path2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, D) -> (N, h, w, D)."""
        y = self.norm1(x)
        mixed = [self._modules[name](y) for name in ("attn", "conv") if name in self._modules]
        x = x + self.drop_path1(sum(mixed[1:], mixed[0]))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, dim, 3, 2, 1)
        self.norm1 = LayerNorm2d(dim, eps=EPS)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(dim, dim, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, D, H / 4, W / 4)."""
        return self.conv2(self.act(self.norm1(self.conv1(x))))


def _down(source: int, target: int, steps: int) -> nn.Module:
    return nn.Conv2d(source, target, 2**steps, 2**steps)


def _up(source: int, target: int) -> nn.Module:
    return nn.Conv2d(source, target, 1)


class Fusion(nn.Module):
    """Every branch receives the others: patch convolutions down, 1x1 convolutions and bilinear resizing up."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.norms = nn.ModuleList([from_cache(LayerNorm2d, dim) for dim in dims])
        self.paths = nn.ModuleDict()
        for i, target in enumerate(dims):
            for j, source in enumerate(dims):
                if j < i:
                    self.paths[f"{j}to{i}"] = from_cache(_down, source, target, i - j)
                elif j > i:
                    self.paths[f"{j}to{i}"] = from_cache(_up, source, target)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """One map (N, D_b, H_b, W_b) per branch -> the same shapes."""
        normal, found = [norm(x) for norm, x in zip(self.norms, xs, strict=True)], []
        for i, x in enumerate(xs):
            for j, y in enumerate(normal):
                if i != j:
                    y = self.paths[f"{j}to{i}"](y)
                    x = x + (resized(y, x.shape[-2:]) if j > i else y)
            found.append(x)
        return found


class Stage(nn.Module):
    """Opens one more branch (but in the first stage), runs the blocks of every branch, fuses."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        super().__init__()
        dims = tuple(cell.dim for cell in cells)
        self.open = from_cache(_down, dims[-2], dims[-1], 1) if len(cells) > 1 else None
        self.branches = nn.ModuleList([_branch(cell) for cell in cells])
        self.fuse = Fusion(dims) if len(cells) > 1 else None

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """Maps of the branches so far -> maps of all branches of this stage."""
        if self.open is not None:
            xs = [*xs, self.open(xs[-1])]
        xs = [branch(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for branch, x in zip(self.branches, xs, strict=True)]
        return xs if self.fuse is None else self.fuse(xs)


def _branch(cell: Cell) -> nn.Module:
    part = (cell.dim, cell.heads, cell.mixer, cell.hidden, cell.window, cell.kernel)
    return Branch([from_cache(HybridBlock, *part) for _ in range(cell.depth)])


class Branch(nn.Module):
    """The blocks of one branch in one stage."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, D) -> (N, h, w, D)."""
        return self.blocks(x)


class LinearHead(nn.Module):
    """Norm and 1x1 convolution to the classes per branch, resized to stride 4 and added.

    This equals one linear layer on the concatenated, resized features, and costs less.
    """

    def __init__(self, dims: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([from_cache(LayerNorm2d, dim) for dim in dims])
        self.scores = nn.ModuleList([from_cache(_up, dim, classes) for dim in dims])

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Maps of the branches -> logits (N, C, H / 4, W / 4)."""
        maps = [score(norm(x)) for norm, score, x in zip(self.norms, self.scores, xs, strict=True)]
        size = maps[0].shape[-2:]
        return sum((resized(part, size) for part in maps[1:]), maps[0])


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing of a map (N, D, h, w)."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class HybridHRNet(nn.Module):
    """The network of an architecture of `hybrid-hr`.

    Attributes:
        channels: Widths of the four maps that `features` returns, at strides 4, 8, 16 and 32.
    """

    def __init__(self, stages: tuple[tuple[Cell, ...], ...], in_channels: int, classes: int) -> None:
        super().__init__()
        self.channels = tuple(cell.dim for cell in stages[-1])
        self.stem = from_cache(Stem, in_channels, self.channels[0])
        self.stages = nn.ModuleList([Stage(cells) for cells in stages])
        self.head: nn.Module | None = LinearHead(self.channels, classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, c, H, W) -> four maps (N, D_b, H / stride, W / stride).

        Raises:
            InputError: If a side is not a multiple of 32.
        """
        if x.shape[-2] % COARSEST or x.shape[-1] % COARSEST:
            raise bad_value("image size", tuple(x.shape[-2:]), f"sides that are multiples of {COARSEST}")
        xs = [self.stem(x)]
        for stage in self.stages:
            xs = stage(xs)
        return xs

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> dense logits (N, C, H / 4, W / 4)."""
        return self.head(self.features(x))
