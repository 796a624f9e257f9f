"""What published searches cost, next to what a run here cost."""

from __future__ import annotations

import pandas as pd

QUOTED = (
    ("AutoFormer-T", "one-shot supernet training", 24.0, None, 5.7, 74.7, "ICCV 2021; cost as AZ-NAS quotes it"),
    ("TF-TAS-T", "DSS score", 0.5, 8000, 6.2, 75.3, "CVPR 2022"),
    ("AZ-NAS-T", "four proxies", 0.03, 10000, 6.16, 76.4, "CVPR 2024; 0.03 to 0.17 by size of the space"),
    ("TE-NAS", "tangent kernel, linear regions; DARTS", 4 / 24, None, None, None, "ICLR 2021; GTX 1080Ti"),
    ("As-ViT", "length distortion; design and scaling", 0.5, None, None, 83.5, "ICLR 2022; V100"),
)
"""Method, kind, GPU-days, candidates, million parameters, ImageNet top-1 (%), source. Quoted, never measured here."""


def cost_comparison(seconds: float, candidates: int, passes: float, *, workers: int, machine: str) -> pd.DataFrame:
    """The cost of a run against published costs.

    GPU-days and processor-days are different units: the table sets them side by side and makes no claim of a speed-up.

    Args:
        seconds: Seconds of scoring, summed over candidates.
        candidates: Number of candidates.
        passes: Forward-backward units, summed over candidates.
        workers: Worker processes that shared the work.
        machine: Short description of the hardware.

    Returns:
        Columns search, evidence (`measured` or `quoted`), device_days, hardware, candidates, seconds_per_candidate,
        passes_per_candidate, params_million, top1_percent, source.
    """
    measured = {
        "search": "this run",
        "evidence": "measured",
        "device_days": seconds / 86400,
        "hardware": machine,
        "candidates": candidates,
        "seconds_per_candidate": seconds / max(1, candidates),
        "passes_per_candidate": passes / max(1, candidates),
        "source": f"scores.sqlite of the run; {workers or 1} worker(s)",
    }
    quoted = [
        {
            "search": name,
            "evidence": "quoted",
            "device_days": days,
            "hardware": "GPU",
            "candidates": count,
            "params_million": params,
            "top1_percent": top1,
            "source": f"{source} ({kind})",
        }
        for name, kind, days, count, params, top1, source in QUOTED
    ]
    return pd.DataFrame([measured, *quoted]).astype({"candidates": "Int64"})


def run_cost(frame: pd.DataFrame, *, workers: int = 0, machine: str = "CPU") -> pd.DataFrame:
    """`cost_comparison` of the rows of a run."""
    seconds, passes = float(frame["seconds"].sum()), float(frame["passes"].sum())
    return cost_comparison(seconds, frame["key"].nunique(), passes, workers=workers, machine=machine)
