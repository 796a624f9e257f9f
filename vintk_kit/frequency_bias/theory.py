"""Analytic tangent kernels of infinitely wide ReLU networks and their eigenvalues per frequency."""

from __future__ import annotations

import numpy as np
from scipy.special import eval_gegenbauer, eval_legendre, roots_jacobi

from vintk_kit.errors import InputError, bad_value


def relu_kernels(
    cosine: np.ndarray, *, depth: int = 1, w_std: float = 2**0.5, b_std: float = 1.0, input_dim: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of an infinitely wide fully connected ReLU network between unit vectors.

    Each layer computes `z = w_std / sqrt(fan_in) W a + b_std b` with standard normal `W`, `b`. With
    `u = cos(theta)` the angle between two pre-activations of variance q:

        Sigma' = q / (2 pi) (sin theta + (pi - theta) cos theta),   dSigma = (pi - theta) / (2 pi)
        Sigma <- w_std^2 Sigma' + b_std^2,                          Theta <- Sigma + w_std^2 dSigma Theta

    Args:
        cosine: Inner products of unit inputs, any shape.
        depth: Hidden layers, at least 1.
        w_std: Weight scale.
        b_std: Bias scale; 0 removes the biases, and then odd frequencies above 1 are never learnt at depth 1.
        input_dim: Dimension of the inputs, which divides their inner product.

    Returns:
        The tangent kernel and the covariance of the outputs (NNGP), float64, shaped like `cosine`.

    Raises:
        InputError: If depth is below 1, a scale is negative or a cosine lies outside [-1, 1].

    Source: Jacot et al. 2018 (arXiv 1806.07572); the arc-cosine integrals are Cho and Saul 2009.
    """
    cosine = np.asarray(cosine, dtype=np.float64)
    if depth < 1:
        raise bad_value("depth", depth, "an integer of at least 1")
    if w_std <= 0 or b_std < 0:
        raise bad_value("w_std, b_std", (w_std, b_std), "w_std > 0 and b_std >= 0")
    if np.abs(cosine).max(initial=0.0) > 1 + 1e-9:
        raise bad_value("cosine", float(np.abs(cosine).max()), "values in [-1, 1] (unit inputs)")
    variance = w_std**2 / input_dim + b_std**2
    covariance = w_std**2 * np.clip(cosine, -1, 1) / input_dim + b_std**2
    kernel = covariance
    for _ in range(depth):
        angle = np.arccos(np.clip(covariance / variance, -1, 1))
        rectified = variance / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
        covariance = w_std**2 * rectified + b_std**2
        kernel = covariance + w_std**2 * (np.pi - angle) / (2 * np.pi) * kernel
        variance = w_std**2 * variance / 2 + b_std**2
    return kernel, covariance


def circle_eigenvalues(n: int = 4096, **network: float) -> np.ndarray:
    """Eigenvalues of the tangent kernel on n equally spaced points of the circle, by frequency.

    The kernel matrix is circulant, so the discrete Fourier transform of its first row diagonalises it:
    `lambda_k = Re FFT(row)[k] / n`, the eigenvalue of Theta / n, twice for 0 < k < n / 2.

    Args:
        n: Number of points.
        **network: `depth`, `w_std`, `b_std` of `relu_kernels`.

    Returns:
        Array of n // 2 + 1 eigenvalues; entry k belongs to frequency k.
    """
    row, _ = relu_kernels(np.cos(2 * np.pi * np.arange(n) / n), input_dim=2, **network)
    return np.fft.rfft(row).real / n


def sphere_eigenvalues(max_degree: int, dim: int, *, nodes: int = 4000, **network: float) -> np.ndarray:
    """Eigenvalues of the tangent kernel on the unit sphere in R^dim, by degree of the spherical harmonics.

    Funk-Hecke: `lambda_k = c_d int_{-1}^{1} Theta(t) P_k(t) (1 - t^2)^((dim - 3) / 2) dt`, with P_k the
    Gegenbauer polynomial normalised to P_k(1) = 1 and c_d making lambda_0 the mean of Theta. Gauss-Jacobi
    quadrature with `nodes` points.

    Args:
        max_degree: Largest degree.
        dim: Dimension of the space that holds the sphere, at least 3 (use `circle_eigenvalues` for 2).
        nodes: Quadrature points.
        **network: `depth`, `w_std`, `b_std` of `relu_kernels`.

    Returns:
        Array of max_degree + 1 eigenvalues under the uniform probability measure.

    Raises:
        InputError: If dim is below 3.
    """
    if dim < 3:
        raise bad_value("dim", dim, "at least 3")
    power = (dim - 3) / 2
    points, weights = roots_jacobi(nodes, power, power)
    kernel, _ = relu_kernels(points, input_dim=dim, **network)
    degrees = np.arange(max_degree + 1)[:, None]
    if dim == 3:
        polynomials = eval_legendre(degrees, points)
    else:
        order = dim / 2 - 1
        polynomials = eval_gegenbauer(degrees, order, points) / eval_gegenbauer(degrees, order, 1.0)
    return polynomials @ (weights * kernel) / weights.sum()


def decay_exponent(eigenvalues: np.ndarray, degrees: np.ndarray | None = None, *, start: int = 16) -> float:
    """Fits `lambda_k ~ k^-a` on log-log axes and returns a.

    Vanishing eigenvalues (odd degrees without bias) are left out: they are never learnt.

    Args:
        eigenvalues: Eigenvalue per degree, entry k for degree k.
        degrees: Degrees to use; by default all from `start` on.
        start: First degree of the asymptotic part.

    Returns:
        The exponent; theory gives dim for the sphere in R^dim (Basri et al. 2020, Cao et al. 2021).

    Raises:
        InputError: If fewer than three positive eigenvalues remain.
    """
    degrees = np.arange(start, len(eigenvalues)) if degrees is None else np.asarray(degrees)
    values = np.asarray(eigenvalues)[degrees]
    keep = values > 1e-14 * np.max(eigenvalues)
    if keep.sum() < 3:
        raise InputError(f"decay exponent: got {int(keep.sum())} positive eigenvalues; allowed: at least 3")
    slope, _ = np.polyfit(np.log(degrees[keep]), np.log(values[keep]), 1)
    return float(-slope)


def time_to_learn(eigenvalues: np.ndarray, remaining: float = 0.05) -> np.ndarray:
    """Gradient-flow time until a fraction `remaining` of a component is left: `ln(1 / remaining) / lambda`.

    Args:
        eigenvalues: Eigenvalues of Theta / n, per frequency.
        remaining: Fraction of the initial residual, in (0, 1).

    Returns:
        Times for the loss `1/(2n) sum (f - y)^2`; infinite where the eigenvalue is not positive.
    """
    if not 0 < remaining < 1:
        raise bad_value("remaining", remaining, "a number between 0 and 1")
    eigenvalues = np.asarray(eigenvalues, dtype=np.float64)
    positive = eigenvalues > 1e-14 * eigenvalues.max()
    with np.errstate(divide="ignore"):
        return np.where(positive, np.log(1 / remaining) / np.where(positive, eigenvalues, 1.0), np.inf)
