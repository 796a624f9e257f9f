"""What trace-like statistics cannot see: a bound on the rate at which a target is learnt.

Statement. Let K = Theta / n be positive semidefinite and let gradient flow on `1/(2n) |f - y|^2` start from f = 0,
so that the residual is `e(t) = exp(-K t) y`. Then for every y != 0 and every t > 0 the mean rate
`rho(t) = -ln(|e(t)| / |y|) / t` obeys

    rho(t) <= R(y) = y^T K y / y^T y <= |P K P|   for every projection P with P y = y.

Proof. With K = sum_i lambda_i u_i u_i^T and w_i = (u_i^T y)^2 / |y|^2, which sum to 1, Jensen's inequality for the
convex exp gives |e(t)|^2 / |y|^2 = sum_i w_i exp(-2 lambda_i t) >= exp(-2 t sum_i w_i lambda_i) = exp(-2 t R(y)).
Taking logarithms gives the first inequality; y = P y gives R(y) = y^T P K P y / y^T y, at most the norm of P K P.
Equality holds if and only if y lies in one eigenspace.

Consequence. Take P onto frequencies above k. tr K is a sum over all frequencies; the share of it above k is
`band_share`. Setting all eigenvalues above k to zero changes the trace by that share alone, yet makes the rate
zero. The statement is ours, in the spirit of ViNTK's Theorem 1, whose text is not public.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vintk_kit.errors import bad_value


def learning_rate(kernel: np.ndarray, target: np.ndarray, time: float) -> tuple[float, float]:
    """Mean learning rate of a target over [0, time], and its bound.

    Args:
        kernel: Theta / n, (n, n), symmetric positive semidefinite.
        target: y, (n,).
        time: Gradient-flow time, positive.

    Returns:
        `-ln(|exp(-K t) y| / |y|) / t` and the Rayleigh quotient `y^T K y / y^T y`.

    Raises:
        InputError: If the time is not positive or the target is zero.
    """
    if time <= 0:
        raise bad_value("time", time, "a positive number")
    norm = float(np.linalg.norm(target))
    if norm == 0:
        raise bad_value("target", "a zero vector", "a non-zero target")
    values, vectors = np.linalg.eigh(kernel)
    weights = (vectors.T @ target / norm) ** 2
    # log-sum-exp around the slowest component keeps the logarithm exact at long times.
    slowest = values[weights > 0].min()
    rate = slowest - np.log(np.sum(weights * np.exp(-2 * (values - slowest) * time))) / (2 * time)
    return float(rate), float(target @ kernel @ target / norm**2)


def band_share(eigenvalues: np.ndarray, above: int) -> float:
    """Share of the trace carried by frequencies above `above` on the circle.

    Args:
        eigenvalues: Eigenvalue per frequency, entry k for frequency k (each k > 0 counts twice).
        above: The cut, a frequency.

    Returns:
        A number in [0, 1].
    """
    doubled = np.where(np.arange(len(eigenvalues)) > 0, 2.0, 1.0) * eigenvalues
    return float(doubled[above + 1 :].sum() / doubled.sum())


def check_bound(
    kernel: np.ndarray, basis: np.ndarray, *, targets: int = 400, seed: int = 0,
    times: Sequence[float] = (0.1, 1.0, 10.0, 100.0),
) -> pd.DataFrame:  # fmt: skip
    """Tries the bound on random targets and on single basis vectors.

    Args:
        kernel: Theta / n, (n, n).
        basis: Orthonormal columns (n, m) that span the allowed targets (frequencies above a cut).
        targets: Random targets, drawn standard normal in the span; the m basis vectors are added.
        seed: Seed of the targets.
        times: Gradient-flow times.

    Returns:
        One row per target and time: kind ("random", "basis"), time, rate, bound, band_bound, ratio (rate over
        bound) and violated (ratio above 1 by more than rounding, 1e-9).
    """
    rng = np.random.default_rng(seed)
    drawn = basis @ rng.standard_normal((basis.shape[1], targets))
    band = float(np.linalg.eigvalsh(basis.T @ kernel @ basis)[-1])
    rows = []
    for kind, columns in (("random", drawn), ("basis", basis)):
        for target in columns.T:
            for time in times:
                rate, bound = learning_rate(kernel, target, time)
                violated = rate > bound * (1 + 1e-9) or bound > band * (1 + 1e-9)
                rows.append({"kind": kind, "time": time, "rate": rate, "bound": bound, "band_bound": band,
                             "ratio": rate / bound, "violated": violated})  # fmt: skip
    return pd.DataFrame(rows)
