"""Search spaces whose networks are the kit's Vision Transformer: a table of choices and a few constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vintk_kit.errors import InputError, bad_value, one_of
from vintk_kit.spaces.base import Architecture, SearchSpace
from vintk_kit.spaces.vit import ViT, ViTConfig


class ViTSpace(SearchSpace):
    """Per-layer heads and MLP ratios, one width, one depth, and possibly the patch size.

    Args:
        name: Registry name.
        reference: Source of the table.
        choices: Fields `embed_dim`, `depth`, `num_heads`, `mlp_ratio` and possibly `patch_size`.
        head_dim: q, k, v are `head_dim * heads` wide; None: as wide as the tokens.
        clip: Clipping distance of the relative position; None: none.
        eps: Of the LayerNorms.
        pool: "avg" or "token".
        published: Choices of architectures from the literature, by name.
    """

    per_layer = ("num_heads", "mlp_ratio")

    def __init__(
        self,
        name: str,
        reference: str,
        choices: Mapping[str, tuple[Any, ...]],
        *,
        patch_size: int = 16,
        image_size: int = 224,
        num_classes: int = 1000,
        head_dim: int | None = None,
        clip: int | None = None,
        eps: float = 1e-6,
        pool: str = "avg",
        published: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.name, self.reference, self.choices = name, reference, dict(choices)
        self.patch_size, self.image_size, self.num_classes = patch_size, image_size, num_classes
        self.head_dim, self.clip, self.eps, self.pool = head_dim, clip, eps, pool
        self._published = dict(published or {})

    def published(self) -> dict[str, Architecture]:
        """Architectures from the literature, by name; `contains` is False for those outside the table."""
        return {name: self.architecture(**choices) for name, choices in self._published.items()}

    def patch(self, choices: Mapping[str, Any] | Architecture) -> int:
        """Side of a patch in pixels."""
        return choices["patch_size"] if "patch_size" in self.choices else self.patch_size

    def config(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> ViTConfig:
        """The settings of an architecture's network."""
        dim = arch["embed_dim"]
        hidden = tuple(int(dim * ratio) for ratio in arch["mlp_ratio"])
        return ViTConfig(
            dim, arch["num_heads"], hidden, self.patch(arch), image_size, in_channels, num_classes,
            self.head_dim, self.clip, self.eps, self.pool,
        )  # fmt: skip

    def check_buildable(self, choices: Mapping[str, Any]) -> None:
        """Heads must divide the width when q, k, v are as wide as the tokens."""
        for index, heads in enumerate(choices["num_heads"]):
            if self.head_dim is None and choices["embed_dim"] % heads:
                raise bad_value(
                    f"{self.name} field 'num_heads[{index}]'", heads, f"a divisor of {choices['embed_dim']}"
                )
        for index, ratio in enumerate(choices["mlp_ratio"]):
            if int(choices["embed_dim"] * ratio) < 1:
                raise bad_value(f"{self.name} field 'mlp_ratio[{index}]'", ratio, "at least one hidden unit")

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """The image must be a whole number of patches."""
        patch = self.patch(arch)
        if image_size % patch:
            raise InputError(f"image_size: got {image_size}; allowed: multiples of the patch size {patch}")

    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> ViT:
        """The network on the meta device."""
        return ViT.skeleton(self.config(arch, in_channels, num_classes, image_size))

    def largest(self) -> list[Architecture]:
        """The widest, deepest network, once per patch size."""
        top = {name: max(options) for name, options in self.choices.items()}
        top |= {name: (top[name],) * top["depth"] for name in self.per_layer}
        if self.head_dim is None:
            top["num_heads"] = (1,) * top["depth"]  # heads do not change shapes; one always divides the width
        if "patch_size" not in self.choices:
            return [self.architecture(**top)]
        return [self.architecture(**top | {"patch_size": patch}) for patch in self.choices["patch_size"]]

    def weight_name(self, arch: Architecture, name: str) -> str:
        """Patch projections and positions of different patch sizes are different tensors."""
        if "patch_size" in self.choices and (name == "pos_embed" or name.startswith("patch_embed")):
            return f"{name}@{self.patch(arch)}"
        return name

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        """Truncated normal 0.02 (its cut at 100 deviations never acts); torch's default for the patch projection."""
        if name.startswith("patch_embed") and len(shape) == 4:
            return ("uniform", (shape[1] * shape[2] * shape[3]) ** -0.5)
        return super().initial(name, shape)

    def params(
        self, arch: Architecture, *, in_channels: int = 3, num_classes: int | None = None, image_size: int | None = None
    ) -> int:
        """Number of parameters, by formula; equal to the built network's count."""
        arch, *sizes = self.resolve(arch, in_channels, num_classes, image_size)
        config = self.config(arch, *sizes)
        dim, tokens = config.embed_dim, config.grid**2 + 1
        total = dim * (config.in_channels * config.patch_size**2 + 1)  # patch projection
        total += dim * (tokens + 1) + 2 * dim  # positions, class token, last norm
        total += config.num_classes * (dim + 1)
        for heads, hidden in zip(config.heads, config.hidden, strict=True):
            head = config.head_dim or dim // heads
            inner = heads * head
            total += 4 * dim + 3 * inner * (dim + 1) + dim * (inner + 1)
            total += hidden * (dim + 1) + dim * (hidden + 1)
            if config.clip is not None:
                total += 4 * (2 * config.clip + 2) * head
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
            convention: "exact" counts the matrix products and the convolution, as torch's counter on the meta device;
                "released" is the formula of the AutoFormer and TF-TAS code, whose results the published tables hold:
                n + 2 tokens in the blocks (n patches), two norms per block at one operation per entry, the patch
                bias, half of the position table, the head on n + 1 tokens, and 28.5 T^2 + T·d_qk / 2 per block for the
                relative position.
        """
        one_of("convention", convention, ("exact", "released"))
        arch, *sizes = self.resolve(arch, in_channels, num_classes, image_size)
        config = self.config(arch, *sizes)
        return _exact_macs(config) if convention == "exact" else _released_macs(config)


def _exact_macs(config: ViTConfig) -> int:
    dim, patches = config.embed_dim, config.grid**2
    tokens = patches + 1
    total = patches * dim * config.in_channels * config.patch_size**2 + dim * config.num_classes
    for heads, hidden in zip(config.heads, config.hidden, strict=True):
        inner = heads * (config.head_dim or dim // heads)
        total += 4 * tokens * dim * inner + 2 * tokens**2 * inner + 2 * tokens * dim * hidden
        if config.clip is not None:
            total += 4 * tokens * inner * (2 * config.clip + 2)
    return total


def _released_macs(config: ViTConfig) -> int:
    dim, patches = config.embed_dim, config.grid**2
    tokens = patches + 2
    total = patches * dim * config.in_channels * config.patch_size**2 + dim
    total += (patches + 1) * dim / 2 + (patches + 1) * dim * config.num_classes
    for heads, hidden in zip(config.heads, config.hidden, strict=True):
        inner = heads * (config.head_dim or dim // heads)
        total += 2 * tokens * dim + 4 * tokens * dim * inner + 2 * tokens**2 * inner + 2 * tokens * dim * hidden
        if config.clip is not None:
            total += (2 * config.clip + 0.5) * tokens**2 + tokens * inner / 2
    return round(total)
