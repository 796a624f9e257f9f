"""Does a score predict trained accuracy, and how sure are we?"""

from vintk_kit.correlation.lab import benchmark_rows, chosen, correlate, judge
from vintk_kit.correlation.statistics import (
    Interval,
    architectures_needed,
    noise_ceiling,
    pair_signs,
    partial,
    resample_counts,
    seed_noise,
    taus,
)
from vintk_kit.correlation.table import correlation_table

__all__ = [
    "Interval",
    "architectures_needed",
    "benchmark_rows",
    "chosen",
    "correlate",
    "correlation_table",
    "judge",
    "noise_ceiling",
    "pair_signs",
    "partial",
    "resample_counts",
    "seed_noise",
    "taus",
]
