"""The one Vision Transformer of the kit: AutoFormer, DeiT-like and small networks are settings of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from timm.layers import Mlp, PatchEmbed
from torch import Tensor, nn

from vintk_kit.spaces.weights import clone_skeleton


@dataclass(frozen=True)
class ViTConfig:
    """Everything that fixes a Vision Transformer.

    Attributes:
        embed_dim: Width D of the tokens.
        heads: Attention heads of each block (its length is the number of blocks L).
        hidden: Width of each block's hidden MLP layer.
        head_dim: Width of one head; q, k and v are `heads * head_dim` wide. None: they are D wide.
        clip: Largest distance told apart by the relative position (keys and values); None: no relative position.
        pool: "avg" averages the patch tokens after the last norm, "token" reads the class token.
    """

    embed_dim: int
    heads: tuple[int, ...]
    hidden: tuple[int, ...]
    patch_size: int
    image_size: int
    in_channels: int
    num_classes: int
    head_dim: int | None = None
    clip: int | None = None
    eps: float = 1e-6
    pool: str = "avg"

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


@lru_cache(maxsize=256)
def _buckets(grid: int, clip: int) -> tuple[Tensor, Tensor]:
    """Table rows for (token, key row) and (token, key column): two (T, grid) index tensors.

    Row 0 belongs to every pair with the class token; a signed distance d uses row clip + 1 + d after clipping.
    """
    steps = torch.arange(grid)
    distance = (steps[None, :] - steps[:, None]).clamp(-clip, clip) + clip + 1  # (from, to)
    patches = torch.arange(grid * grid)
    none = torch.zeros(1, grid, dtype=torch.long)
    return torch.cat([none, distance[patches // grid]]), torch.cat([none, distance[patches % grid]])


class RelativePosition2d(nn.Module):
    """AutoFormer's 2-D relative position on keys and values, written with ordinary Linear layers.

    The released code looks up a (T, T, head_dim) table r_ts = V[row distance] + H[column distance]. Here `q . r_ts` is
    a Linear layer from q to all distances followed by a lookup, and `sum_s a_ts r_ts` collects the attention per
    distance before a Linear layer. As rows and columns add up, the lookups only see the T x grid marginals.
    Exact, and hooks on Linear layers see every parameter.
    """

    def __init__(self, head_dim: int, grid: int, clip: int, device: str | None = None) -> None:
        super().__init__()
        self.grid, self.distances = grid, 2 * clip + 2
        self.key_rows = nn.Linear(head_dim, self.distances, bias=False, device=device)
        self.key_cols = nn.Linear(head_dim, self.distances, bias=False, device=device)
        self.value_rows = nn.Linear(self.distances, head_dim, bias=False, device=device)
        self.value_cols = nn.Linear(self.distances, head_dim, bias=False, device=device)
        rows, cols = _buckets(grid, clip)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("cols", cols, persistent=False)

    def keys(self, q: Tensor) -> Tensor:
        """Position part of the attention logits: q (N, H, T, head_dim) -> (N, H, T, T)."""
        n, heads, tokens, dim = q.shape
        flat = q.reshape(n, heads * tokens, dim)
        index = (n, heads, tokens, self.grid)
        by_row = self.key_rows(flat).view(n, heads, tokens, -1)
        by_col = self.key_cols(flat).view(n, heads, tokens, -1)
        rows, cols = by_row.gather(-1, self.rows.expand(index)), by_col.gather(-1, self.cols.expand(index))
        patches = (rows.unsqueeze(-1) + cols.unsqueeze(-2)).flatten(-2)
        return torch.cat([by_row[..., :1] + by_col[..., :1], patches], dim=-1)

    def values(self, attention: Tensor) -> Tensor:
        """Position part of the attention output: attention (N, H, T, T) -> (N, H, T, head_dim)."""
        n, heads, tokens, _ = attention.shape
        square = attention[..., 1:].unflatten(-1, (self.grid, self.grid))
        parts = []
        for layer, index, marginal in (
            (self.value_rows, self.rows, square.sum(-1)),
            (self.value_cols, self.cols, square.sum(-2)),
        ):
            empty = F.pad(attention[..., :1], (0, self.distances - 1))
            collected = empty.scatter_add(-1, index.expand(n, heads, tokens, self.grid), marginal)
            parts.append(layer(collected.view(n, heads * tokens, -1)))
        return (parts[0] + parts[1]).view(n, heads, tokens, -1)


class Attention(nn.Module):
    """Multi-head self-attention.

    The rows of `qkv.weight` are interleaved: q_0, k_0, v_0, q_1, k_1, v_1, ... as in the released AutoFormer supernet.
    The first 3·heads·head_dim rows of a larger layer are then the layer of fewer heads: slicing is a view.

    Attributes:
        fused: Uses torch's fused kernel (no second derivatives, no attention map) where there is no relative position.
    """

    def __init__(
        self, dim: int, heads: int, head_dim: int, grid: int, clip: int | None, device: str | None = None
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scale = heads, head_dim, head_dim**-0.5
        self.fused = False
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, device=device)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(heads * head_dim, dim, device=device)
        self.rel_pos = None if clip is None else RelativePosition2d(head_dim, grid, clip, device)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        n, tokens, _ = x.shape
        qkv = self.qkv(x).view(n, tokens, self.num_heads, self.head_dim, 3)
        q, k, v = qkv.permute(4, 0, 2, 1, 3).unbind(0)  # each (N, H, T, head_dim)
        if self.fused and self.rel_pos is None:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            q = q * self.scale
            logits = q @ k.transpose(-2, -1)
            if self.rel_pos is not None:
                logits = logits + self.rel_pos.keys(q)
            attention = self.attn_drop(logits.softmax(dim=-1))
            out = attention @ v
            if self.rel_pos is not None:
                out = out + self.rel_pos.values(attention)
        return self.proj(out.transpose(1, 2).reshape(n, tokens, -1))


class Block(nn.Module):
    """Pre-norm block; `drop_path1` and `drop_path2` are places for stochastic depth in training."""

    def __init__(
        self, dim: int, heads: int, head_dim: int, hidden: int, eps: float, grid: int, clip: int | None,
        device: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps, device=device)
        self.attn = Attention(dim, heads, head_dim, grid, clip, device)
        self.drop_path1 = nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps, device=device)
        self.mlp = Mlp(dim, hidden, device=device)
        self.drop_path2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


@lru_cache(maxsize=4096)
def _block_template(*settings: float | None) -> Block:
    return Block(*settings, device="meta").eval()


def block_skeleton(
    dim: int, heads: int, head_dim: int, hidden: int, eps: float, grid: int = 1, clip: int | None = None
) -> Block:
    """A block on the meta device, copied from a cached one: constructing layers would dominate building."""
    return clone_skeleton(_block_template(dim, heads, head_dim, hidden, eps, grid if clip else 1, clip))


@lru_cache(maxsize=256)
def _shell_template(dim: int, patch: int, size: int, channels: int, classes: int, eps: float, pool: str) -> ViT:
    config = ViTConfig(dim, (), (), patch, size, channels, classes, eps=eps, pool=pool)
    return ViT(config, device="meta").eval()


class ViT(nn.Module):
    """A Vision Transformer with class token and learned absolute positions.

    Module names follow timm: `patch_embed.proj`, `cls_token`, `pos_embed`, `blocks.{i}.attn.{qkv,proj}`,
    `blocks.{i}.mlp.{fc1,fc2}`, `blocks.{i}.{norm1,norm2}`, `norm`, `head`.
    """

    def __init__(self, config: ViTConfig, device: str | None = None) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config.image_size, config.patch_size, config.in_channels, dim, device=device)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim, device=device))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2 + 1, dim, device=device))
        self.blocks = nn.Sequential()
        for heads, hidden in zip(config.heads, config.hidden, strict=True):
            head_dim = config.head_dim or dim // heads
            grid = config.grid if config.clip else 1
            self.blocks.append(Block(dim, heads, head_dim, hidden, config.eps, grid, config.clip, device))
        self.norm = nn.LayerNorm(dim, eps=config.eps, device=device)
        self.head = nn.Linear(dim, config.num_classes, device=device)

    @classmethod
    def skeleton(cls, config: ViTConfig) -> ViT:
        """The network on the meta device, assembled from cached parts."""
        shell = _shell_template(
            config.embed_dim, config.patch_size, config.image_size, config.in_channels, config.num_classes,
            config.eps, config.pool,
        )  # fmt: skip
        network = clone_skeleton(shell)
        network.config = config
        for index, (heads, hidden) in enumerate(zip(config.heads, config.hidden, strict=True)):
            head_dim = config.head_dim or config.embed_dim // heads
            block = block_skeleton(config.embed_dim, heads, head_dim, hidden, config.eps, config.grid, config.clip)
            network.blocks._modules[str(index)] = block
        return network

    def use_fused_attention(self, fused: bool = True) -> ViT:
        """Switches torch's fused attention on or off in every block; returns the network."""
        for block in self.blocks:
            block.attn.fused = fused
        return self

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> normalised tokens (N, T, D); the class token comes first."""
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.norm(self.blocks(x))

    def forward_head(self, tokens: Tensor) -> Tensor:
        """(N, T, D) -> logits (N, C)."""
        return self.head(tokens[:, 1:].mean(dim=1) if self.config.pool == "avg" else tokens[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> logits (N, C)."""
        return self.forward_head(self.forward_features(x))
