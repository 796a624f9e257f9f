"""Unevenly spread data: sparse regions learn the same frequency more slowly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vintk_kit.frequency_bias.theory import relu_kernels


def local_learning_times(
    frequencies: Sequence[int] = (2, 3, 4, 6, 8, 10), *, ratio: float = 4.0, n: int = 600,
    remaining: float = 0.5, **network: float,
) -> pd.DataFrame:  # fmt: skip
    """Time to learn cos(k phi) on the dense and the sparse half of a circle.

    n points, `ratio` times as many on one half as on the other. Gradient flow on `1/(2n) sum (f - y)^2` gives the
    residual `exp(-t Theta / n) y`; the time is when the root mean square over one half falls to `remaining`.
    Theory: proportional to `k^d / p`, p the local density (Basri et al. 2020, arXiv 2003.04560), so the two
    halves differ by the factor `ratio`.

    Args:
        frequencies: The k of the targets.
        ratio: Density of the dense half over that of the sparse half.
        n: Number of points.
        remaining: Fraction of the initial error.
        **network: `depth`, `w_std`, `b_std` of `relu_kernels`.

    Returns:
        Columns frequency, region ("dense", "sparse"), density (relative to uniform), time.
    """
    dense = round(n * ratio / (1 + ratio))
    angle = np.concatenate([np.pi * (np.arange(dense) + 0.5) / dense,
                            np.pi + np.pi * (np.arange(n - dense) + 0.5) / (n - dense)])  # fmt: skip
    kernel, _ = relu_kernels(np.cos(angle[:, None] - angle[None]), **network)
    values, vectors = np.linalg.eigh(kernel / n)
    halves = {"dense": slice(0, dense), "sparse": slice(dense, n)}
    rows = []
    for k in frequencies:
        target = np.cos(k * angle)
        for region, half in halves.items():
            weights = vectors[half] * (vectors.T @ target)
            size = (half.stop - half.start) / n
            time = _crossing(values, weights, np.linalg.norm(target[half]), remaining)
            rows.append({"frequency": k, "region": region, "density": 2 * size, "time": time})
    return pd.DataFrame(rows)


def _crossing(values: np.ndarray, weights: np.ndarray, initial: float, remaining: float) -> float:
    low, high = 0.0, 1.0
    error = lambda t: np.linalg.norm(weights @ np.exp(-values * t)) / initial  # noqa: E731
    while error(high) > remaining and high < 1e12:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > remaining else (low, middle)
    return high
