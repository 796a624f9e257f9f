"""Rank correlation with intervals, from one matrix of pair signs.

Kendall's tau-b of a resample is a quadratic form in the counts w of how often each architecture was drawn:
`tau = w^T (Sx * Sy) w / sqrt(w^T Sx^2 w  w^T Sy^2 w)` with `Sx[i, j] = sign(x_i - x_j)`. So all resamples and all
restrictions to pairs (same size, same cell) are a few matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from vintk_kit.errors import InputError, bad_value


def pair_signs(values: np.ndarray) -> np.ndarray:
    """Signs of all pairwise differences, (n, n) float32 with entries -1, 0, 1.

    Raises:
        InputError: If a value is not finite or there are fewer than three.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 3:
        raise bad_value("number of architectures", len(values), "at least 3")
    if not np.isfinite(values).all():
        raise InputError(f"values: got {int((~np.isfinite(values)).sum())} not finite; allowed: finite numbers")
    return np.sign(values[:, None] - values[None]).astype(np.float32)


def resample_counts(n: int, resamples: int, seed: int) -> np.ndarray:
    """Counts of a bootstrap over n architectures, (resamples + 1, n); row 0 is the sample itself."""
    drawn = np.random.default_rng([seed, 3]).multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.concatenate([np.ones((1, n)), drawn]).astype(np.float32)


def taus(first: np.ndarray, second: np.ndarray, counts: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
    """Kendall's tau-b for every row of counts.

    Args:
        first: Pair signs of x, (n, n).
        second: Pair signs of y.
        counts: Counts (B, n).
        pairs: Optional mask (n, n): only these pairs count.

    Returns:
        Array (B,), NaN where x or y is constant on the pairs.
    """
    mask = 1.0 if pairs is None else pairs.astype(np.float32)
    form = lambda matrix: ((counts @ (matrix * mask)) * counts).sum(1, dtype=np.float64)  # noqa: E731
    scale = np.sqrt(form(first * first) * form(second * second))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, form(first * second) / scale, np.nan)


def partial(xy: np.ndarray, xz: np.ndarray, yz: np.ndarray) -> np.ndarray:
    """Kendall's partial tau of x and y given z: `(xy - xz yz) / sqrt((1 - xz^2)(1 - yz^2))`; NaN if |xz| = 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, resampled: np.ndarray) -> Interval:
        """From an array whose first entry is the value and the rest resamples."""
        rest = resampled[1:][np.isfinite(resampled[1:])]
        if not np.isfinite(resampled[0]) or not len(rest):
            return cls(float("nan"), float("nan"), float("nan"))
        return cls(float(resampled[0]), *map(float, np.percentile(rest, [2.5, 97.5])))


def size_bins(params: np.ndarray, bins: int = 5) -> np.ndarray:
    """Index of the quantile bin of each parameter count, so that pairs of similar size can be compared."""
    edges = np.quantile(params, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, params, side="right")


def top_recall(score: np.ndarray, accuracy: np.ndarray, share: float = 0.1) -> float:
    """Share of the truly best architectures found among as many best-scored ones (`share` of all, at least one)."""
    k = max(1, round(share * len(score)))
    best = set(np.argsort(-np.asarray(accuracy), kind="stable")[:k])
    return len(best & set(np.argsort(-np.asarray(score), kind="stable")[:k])) / k


def regret(score: np.ndarray, accuracy: np.ndarray, share: float = 0.1) -> float:
    """Best accuracy of all minus the best among the `share` best-scored ones, in the unit of the accuracy."""
    k = max(1, round(share * len(score)))
    chosen = np.argsort(-np.asarray(score), kind="stable")[:k]
    return float(np.max(accuracy) - np.max(np.asarray(accuracy)[chosen]))


def pearson_log(score: np.ndarray, accuracy: np.ndarray) -> float:
    """Pearson correlation of log score and accuracy; of the plain score where it is not positive."""
    score = np.asarray(score, dtype=np.float64)
    if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
        return float("nan")
    return float(stats.pearsonr(np.log(score) if (score > 0).all() else score, accuracy)[0])


def noise_ceiling(accuracy: np.ndarray, noise: float, *, draws: int = 200, seed: int = 0) -> Interval:
    """The tau that a perfect predictor of true accuracy would reach against noisy labels.

    True accuracies are taken as the labels shrunk towards their mean so that their variance is that of the labels
    less `noise`^2; fresh noise is added to them.

    Args:
        accuracy: Labels.
        noise: Standard deviation of a label about its true value, in the same unit.
        draws: Monte-Carlo draws.
        seed: Their seed.

    Returns:
        Mean and 95 % range of tau; 0 if the noise explains the whole spread.
    """
    accuracy = np.asarray(accuracy, dtype=np.float64)
    variance = accuracy.var()
    if noise**2 >= variance:
        return Interval(0.0, 0.0, 0.0)
    true = accuracy.mean() + np.sqrt(1 - noise**2 / variance) * (accuracy - accuracy.mean())
    rng = np.random.default_rng([seed, 9])
    values = [stats.kendalltau(true, true + noise * rng.standard_normal(len(true))).statistic for _ in range(draws)]
    return Interval(float(np.mean(values)), *map(float, np.percentile(values, [2.5, 97.5])))


def architectures_needed(interval: Interval, n: int, half_width: float) -> int:
    """Architectures for a 95 % interval of +- half_width, as the interval shrinks with one over the root of n."""
    if not half_width > 0:
        raise bad_value("half_width", half_width, "a positive number")
    return int(np.ceil(n * ((interval.high - interval.low) / 2 / half_width) ** 2))


def seed_noise(trainings: np.ndarray, groups: np.ndarray) -> float:
    """Pooled standard deviation of repeated trainings about the mean of their architecture.

    Args:
        trainings: Accuracies.
        groups: Architecture of each.

    Returns:
        The standard deviation, NaN without repeated trainings.
    """
    squares, freedom = 0.0, 0
    for group in np.unique(groups):
        values = np.asarray(trainings)[groups == group]
        if len(values) > 1:
            squares += ((values - values.mean()) ** 2).sum()
            freedom += len(values) - 1
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")
