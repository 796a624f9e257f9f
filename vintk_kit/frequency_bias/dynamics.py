"""Learning curves per frequency: what the kernel predicts against what a finite network does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vintk_kit.errors import bad_value
from vintk_kit.frequency_bias.networks import TeachingMLP, circle_points, empirical_kernel
from vintk_kit.frequency_bias.theory import circle_eigenvalues, relu_kernels


def learning_curves(
    frequencies: Sequence[int] = (1, 2, 4, 8), *, width: int = 1024, depth: int = 1, w_std: float = 2**0.5,
    b_std: float = 1.0, steps: int = 2000, learning_rate: float = 0.2, n: int = 64, amplitude: float = 0.01,
    seed: int = 0, records: int = 200, separate: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Trains a finite network on a sum of cosines on the circle and follows the error of each.

    Full-batch gradient descent on `1/(2n) sum (f - y)^2`, y = amplitude sum_k cos(k phi). The kernel predicts
    `r_k(t) / r_k(0) = (1 - eta lambda_k)^step`, which is `exp(-lambda_k t)` at time t = eta step.

    Args:
        frequencies: The k of the target, each in [1, n / 2).
        width: Units per hidden layer; the prediction holds as it grows.
        depth: Hidden layers.
        w_std: Weight scale.
        b_std: Bias scale.
        steps: Gradient steps.
        learning_rate: eta; must be below 2 / lambda_0.
        n: Points on the circle.
        amplitude: Size of the target; small keeps the network near its initial kernel.
        seed: Seed of the network.
        records: How many moments to keep, spaced evenly in the logarithm of time.
        separate: Trains one network per frequency, so that components cannot disturb each other.

    Returns:
        Columns step, time, frequency, measured, predicted; both relative to the initial error.

    Raises:
        InputError: If a frequency aliases or the learning rate would diverge.
    """
    values = circle_eigenvalues(n, depth=depth, w_std=w_std, b_std=b_std)
    _check(frequencies, n, learning_rate, values[0])
    targets = [[k] for k in frequencies] if separate else [list(frequencies)]
    options = {"width": width, "depth": depth, "w_std": w_std, "b_std": b_std, "seed": seed}
    rows = [
        row
        for group in targets
        for row in _train(TeachingMLP(2, **options), circle_points(n), group, amplitude, steps, learning_rate, records)
    ]
    frame = pd.DataFrame(rows, columns=["step", "frequency", "measured"])
    frame["time"] = frame["step"] * learning_rate
    frame["predicted"] = (1 - learning_rate * values[frame["frequency"]]) ** frame["step"]
    return frame[["step", "time", "frequency", "measured", "predicted"]]


def _train(
    network: TeachingMLP, points: Tensor, frequencies: Sequence[int], amplitude: float, steps: int,
    learning_rate: float, records: int,
) -> list[tuple[int, int, float]]:  # fmt: skip
    """Gradient descent on a sum of cosines; one row per recorded step and frequency."""
    angle = torch.atan2(points[:, 1], points[:, 0])
    waves = torch.stack([torch.cos(k * angle) for k in frequencies])
    target = amplitude * waves.sum(0)
    start = network(points).detach()
    moments = {0, *np.unique(np.geomspace(1, steps, records).astype(int)).tolist()}
    rows = []
    for step in range(steps + 1):
        residual = network(points) - start - target
        if step in moments:
            errors = (waves @ residual.detach() / (waves @ target)).abs()
            rows += [(step, k, float(error)) for k, error in zip(frequencies, errors, strict=True)]
        network.zero_grad()
        residual.square().mean().mul(0.5).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= learning_rate * parameter.grad
    return rows


def _check(frequencies: Sequence[int], n: int, learning_rate: float, largest: float) -> None:
    for k in frequencies:
        if not 1 <= k < n / 2:
            raise bad_value("frequency", k, f"integers from 1 to {n // 2 - 1} for {n} points")
    if not 0 < learning_rate < 2 / largest:
        raise bad_value("learning_rate", learning_rate, f"a positive number below {2 / largest:.3g} (2 / lambda_0)")


def measured_rates(curves: pd.DataFrame, remaining: float = 0.8) -> pd.DataFrame:
    """Decay rate per frequency, measured and predicted, from learning curves.

    The rate is `-ln r(t) / t` at the first recorded time with r <= remaining (or the last time).

    Args:
        curves: Frame of `learning_curves`; several runs concatenated are averaged first.
        remaining: Level at which the rate is read.

    Returns:
        Columns frequency, measured, predicted, ratio.
    """
    mean = curves.groupby(["frequency", "time"], as_index=False)[["measured", "predicted"]].mean()
    rows = []
    for frequency, part in mean[mean["time"] > 0].groupby("frequency"):
        reached = part[part["measured"] <= remaining]
        point = (reached if len(reached) else part.tail(1)).iloc[0]
        measured, predicted = (-np.log(point[name]) / point["time"] for name in ("measured", "predicted"))
        rows.append(
            {
                "frequency": frequency,
                "measured": measured,
                "predicted": predicted,
                "ratio": measured / predicted,
            }
        )
    return pd.DataFrame(rows)


def width_deviation(
    widths: Sequence[int] = (64, 256, 1024, 4096), *, depth: int = 1, n: int = 16, seeds: int = 8,
    w_std: float = 2**0.5, b_std: float = 1.0,
) -> tuple[pd.DataFrame, float]:  # fmt: skip
    """Relative Frobenius distance between empirical and analytic kernels, by width.

    Args:
        widths: Hidden widths.
        depth: Hidden layers.
        n: Points on the circle.
        seeds: Networks per width; the root mean square is reported.
        w_std: Weight scale.
        b_std: Bias scale.

    Returns:
        Frame with columns width, deviation; and the fitted exponent, -1/2 in theory.
    """
    points = circle_points(n)
    cosine = (points.double() @ points.double().T).clamp(-1, 1).numpy()
    analytic, _ = relu_kernels(cosine, depth=depth, w_std=w_std, b_std=b_std)
    rows = []
    for width in widths:
        errors = []
        for seed in range(seeds):
            network = TeachingMLP(2, width, depth, w_std=w_std, b_std=b_std, seed=seed)
            difference = empirical_kernel(network, points).numpy() - analytic
            errors.append(np.linalg.norm(difference) / np.linalg.norm(analytic))
        rows.append({"width": width, "deviation": float(np.sqrt(np.mean(np.square(errors))))})
    frame = pd.DataFrame(rows)
    slope, _ = np.polyfit(np.log(frame["width"]), np.log(frame["deviation"]), 1)
    return frame, float(slope)
