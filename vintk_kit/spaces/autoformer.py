"""AutoFormer's three spaces, as released, and the variant trained from scratch in ViT-Bench-101."""

from __future__ import annotations

from vintk_kit.spaces.vit_space import ViTSpace

REFERENCE = "Chen et al., AutoFormer, ICCV 2021 (arXiv 2107.00651); released supernet configurations"
SCRATCH_REFERENCE = "Wei et al., Auto-Prox (ViT-Bench-101), AAAI 2024 (arXiv 2312.09059): q/k/v as wide as the tokens"

TABLES = {
    "tiny": {"embed_dim": (192, 216, 240), "depth": (12, 13, 14), "num_heads": (3, 4), "mlp_ratio": (3.5, 4.0)},
    "small": {
        "embed_dim": (320, 384, 448),
        "depth": (12, 13, 14),
        "num_heads": (5, 6, 7),
        "mlp_ratio": (3.0, 3.5, 4.0),
    },
    "base": {
        "embed_dim": (528, 576, 624),
        "depth": (14, 15, 16),
        "num_heads": (9, 10),
        "mlp_ratio": (3.0, 3.5, 4.0),
    },
}


def _subnet(embed_dim: int, heads: str, mlp_ratios: str) -> dict[str, object]:
    heads_list = tuple(int(value) for value in heads.split())
    ratios = tuple(float(value) for value in mlp_ratios.split())
    return {"embed_dim": embed_dim, "depth": len(heads_list), "num_heads": heads_list, "mlp_ratio": ratios}


# AutoFormer-T uses mlp ratio 3.0 in three layers, which its own table does not hold.
PUBLISHED = {
    "tiny": {
        "AutoFormer-T": _subnet(192, "3 3 3 3 3 3 3 3 3 3 4 3 3", "3.5 3.5 3 3.5 3 3 4 4 3.5 4 3.5 4 3.5"),
        "TF-TAS-Ti": _subnet(192, "4 3 3 3 3 4 4 3 3 3 4 3 3", "3.5 4 3.5 4 3.5 4 3.5 3.5 3.5 4 4 4 3.5"),
    },
    "small": {
        "AutoFormer-S": _subnet(384, "6 6 5 7 5 5 5 6 6 7 7 6 7", "3 3.5 3 3.5 4 4 4 4 4 4 4 3.5 4"),
        "TF-TAS-S": _subnet(384, "6 6 6 6 7 6 5 7 5 5 5 7 6 7", "4 4 4 3 4 3 3 3.5 4 3.5 3.5 4 3 3.5"),
    },
    "base": {
        "AutoFormer-B": _subnet(576, "9 9 9 9 9 10 9 9 10 9 10 9 9 10", "3.5 3.5 4 3.5 4 3.5 3.5 3 4 4 3 4 3 3.5"),
        "TF-TAS-B": _subnet(576, "9 10 10 10 10 10 10 9 9 10 9 9 9 9 9", "3 3.5 4 4 3 4 3 3 3.5 3 3 3.5 4 3 4"),
    },
}


def autoformer(size: str) -> ViTSpace:
    """AutoFormer-Tiny, -Small or -Base.

    q, k and v are 64 x heads wide; 2-D relative position (clipped at 14) on keys and values of every head, absolute
    positions too; patch tokens are averaged; LayerNorm eps 1e-5.
    """
    return ViTSpace(
        f"autoformer-{size}",
        REFERENCE,
        TABLES[size],
        head_dim=64,
        clip=14,
        eps=1e-5,
        published=PUBLISHED[size],
    )


def autoformer_scratch() -> ViTSpace:
    """The AutoFormer-Tiny table with the network ViT-Bench-101 trained from scratch.

    q, k and v are as wide as the tokens, so heads change no shape; no relative position; LayerNorm eps 1e-6.
    """
    return ViTSpace("autoformer-tiny-scratch", SCRATCH_REFERENCE, TABLES["tiny"], num_classes=100)
