"""What each study scores. Sample sizes keep a study within minutes on two cores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WHOLE = "statistic='condition_number', combine='replace', per_block=False"
KAPPA = f"vintk(kind='highpass', low=8, {WHOLE}, groups={{groups!r}})"
LOGDET = "vintk(kind='identity', statistic='log_det', combine='replace', groups='attention')"
NUCLEAR = "vintk(kind='identity', combine='replace')"
LARGEST = "vintk(statistic='max_eigenvalue', per_block=False)"
BAND = f"vintk(kind={{!r}}, low={{}}, {WHOLE}, groups='attention+mlp')"
BANDS = (("lowpass", 2), ("bandpass", 1), ("bandpass", 4), ("highpass", 2), ("highpass", 6))
FEATURES = (
    *(f"kind='channel-gaussian', sigma={sigma}" for sigma in (0.1, 0.3, 1.0, 3.0)),
    "kind='channel-gaussian', sigma=0.3, num_frequencies=16", "kind='channel-positional', sigma=4.0",
    "kind='fold-gaussian', sigma=0.3", "kind='modulate', low=4", "kind='modulate', low=8",
)  # fmt: skip
FEATURE = f"vintk({{}}, {WHOLE}, groups='attention+mlp')"
NUCLEAR_FEATURE = "vintk({}, combine='replace')"
ALL = {
    "autoformer-tiny-imagenet": 60, "vit-bench-101-pit": 50, "nasbench201": 60, "microvit-photopatch": 150,
    "autoformer-small-imagenet": 60, "autoformer-base-imagenet": 30, "vit-bench-101-autoformer": 100,
    "microvit-fashion": 150,
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        title: Its question.
        proxies: Specs that are scored and judged.
        sizes: Architectures per benchmark.
        options: Options of `score` for all its benchmarks.
        skip: Proxies left out on a benchmark, because its networks lack what they read.
        settings: Further options by label, each scored in turn; the table tells them apart by the column `setting`.
    """

    title: str
    proxies: tuple[str, ...]
    sizes: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)
    skip: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})


CLAIMS = (
    "ntk", "ntk(groups='attention')", "ntk(groups='mlp')", KAPPA.format(groups="all"), KAPPA.format(groups="attention"),
    KAPPA.format(groups="mlp"), "vintk", NUCLEAR, LOGDET, LARGEST, "ntk-trace", "naswot", "params", "macs", "depth",
)  # fmt: skip
TRANSFORMER_ONLY = tuple(text for text in CLAIMS if "attention" in text or "mlp" in text)

STUDIES: dict[str, Study] = {
    "claims": Study(
        "Does the plain kernel fail on ViTs, do attention and high frequencies repair it (the paper's Figures 1 to 3)?",
        CLAIMS,
        ALL,
        skip={"nasbench201": TRANSFORMER_ONLY},
    ),
    "initialisation": Study(
        "What do shared initial weights and the number of seeds change? (this part: independent weights)",
        ("ntk", KAPPA.format(groups="mlp"), "vintk", "naswot", "params"),
        {"autoformer-tiny-imagenet": 60, "microvit-photopatch": 150},
        {"init": "independent"},
    ),
    "bands": Study(
        "Which band of the input carries the signal?",
        (
            *(BAND.format(kind, low) for kind, low in BANDS),
            *(NUCLEAR_FEATURE.format(f"kind={kind!r}, low={low}") for kind, low in BANDS),
            NUCLEAR,
            "params",
        ),
        {"microvit-photopatch": 150},
    ),
    "features": Study(
        "Which Fourier features, of which scale and number?",
        (
            *(form.format(text) for form in (FEATURE, NUCLEAR_FEATURE) for text in FEATURES),
            "vintk",
            NUCLEAR,
            "ntk",
            "ntk(groups='attention+mlp')",
            "params",
        ),
        {"microvit-photopatch": 75},
    ),
    "probe": Study(
        "Batch size, image size and number of seeds.",
        ("ntk", KAPPA.format(groups="mlp"), "vintk", NUCLEAR, "params"),
        {"microvit-photopatch": 75},
        settings={
            "N=8": {"batch_size": 8},
            "N=32": {},
            "N=64": {"batch_size": 64},
            "64 px": {"image_size": 64},
            "3 seeds": {"seeds": (0, 1, 2)},
        },
    ),
    "zoo": Study(
        "All proxies beside params and MACs.",
        ("all",),
        {
            "microvit-photopatch": 75,
            "microvit-fashion": 75,
            "vit-bench-101-pit": 30,
            "nasbench201": 60,
            "autoformer-tiny-imagenet": 30,
        },
    ),
}
"""Every study by name."""
