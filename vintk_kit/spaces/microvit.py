"""A small space for 32-pixel images whose networks train in seconds on a CPU."""

from __future__ import annotations

from vintk_kit.spaces.vit_space import ViTSpace

TABLE = {
    "patch_size": (4, 8),
    "embed_dim": (32, 48, 64, 96, 144),
    "depth": (2, 3, 4, 5, 6),
    "num_heads": (2, 4, 8),
    "mlp_ratio": (1.0, 2.0, 4.0),
}


def microvit() -> ViTSpace:
    """Heads of width 16 (q, k, v are 16 x heads wide, as in AutoFormer), averaged tokens, no relative position."""
    return ViTSpace(
        "microvit-32",
        "This project: AutoFormer's design at 32 pixels, from about 17 thousand to 1.5 million parameters",
        TABLE,
        image_size=32,
        num_classes=10,
        head_dim=16,
        published={
            "middle": {
                "patch_size": 4,
                "embed_dim": 64,
                "depth": 4,
                "num_heads": (4, 4, 4, 4),
                "mlp_ratio": (2, 2, 2, 2),
            }
        },
    )


def deit(size: str) -> ViTSpace:
    """A DeiT-like network as a space of one architecture (Touvron et al., ICML 2021, Table 1)."""
    dim, heads = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}[size]
    table = {"embed_dim": (dim,), "depth": (12,), "num_heads": (heads,), "mlp_ratio": (4.0,)}
    reference = "Touvron et al., DeiT, ICML 2021 (arXiv 2012.12877), Table 1"
    return ViTSpace(f"deit-{size}", reference, table, pool="token")
