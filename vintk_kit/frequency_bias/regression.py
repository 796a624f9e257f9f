"""Fourier features of coordinates: one-dimensional signals and photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value, one_of
from vintk_kit.frequency_bias.theory import relu_kernels

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")


def coordinate_features(
    coordinates: np.ndarray, *, kind: str = "gaussian", sigma: float = 4.0, num_frequencies: int = 64, seed: int = 0
) -> np.ndarray:
    """Fourier features `[cos(2 pi B v), sin(2 pi B v)] / sqrt(F)` of coordinates.

    Args:
        coordinates: Array (n, d) with values in [0, 1).
        kind: "none" (the coordinates themselves on a torus of frequency 1: `B = I`), "gaussian" (entries of B
            normal with deviation sigma) or "positional" (`sigma^(j / m)`, j = 0..m-1, per coordinate).
        sigma: Scale: deviation, or largest frequency.
        num_frequencies: F, rows of B ("positional": F / d per coordinate).
        seed: Seed of B.

    Returns:
        Array (n, 2F) of unit rows.

    Source: Tancik et al. 2020 (arXiv 2006.10739).
    """
    one_of("kind", kind, ("none", "gaussian", "positional"))
    dim = coordinates.shape[1]
    if kind == "none":
        frequencies = np.eye(dim)
    elif kind == "gaussian":
        frequencies = sigma * np.random.default_rng(seed).standard_normal((num_frequencies, dim))
    else:
        each = max(1, num_frequencies // dim)
        frequencies = np.concatenate([np.outer(sigma ** (np.arange(each) / each), axis) for axis in np.eye(dim)])
    phase = 2 * np.pi * coordinates @ frequencies.T
    return np.concatenate([np.cos(phase), np.sin(phase)], 1) / np.sqrt(len(frequencies))


def mapped_kernel_eigenvalues(n: int = 256, *, depth: int = 1, **features: object) -> np.ndarray:
    """Eigenvalues per frequency of the analytic kernel on [0, 1) after Fourier features.

    The composed kernel depends on `v - v'`; where the frequencies are not whole numbers it is not periodic, and
    the mean over shifts (its projection on periodic kernels) is taken.

    Args:
        n: Points on the unit interval.
        depth: Hidden layers of the network.
        **features: Options of `coordinate_features`.

    Returns:
        Array of n // 2 + 1 eigenvalues of Theta / n.
    """
    mapped = coordinate_features(np.arange(n)[:, None] / n, **features)
    kernel, _ = relu_kernels(np.clip(mapped @ mapped.T, -1, 1), depth=depth, input_dim=mapped.shape[1])
    index = (np.arange(n)[:, None] + np.arange(n)[None]) % n
    row = np.take_along_axis(kernel, index, 1).mean(0)
    return np.fft.rfft((row + np.roll(row[::-1], 1)) / 2).real / n


def signal_regression(
    sigmas: Sequence[float] = (0.5, 2.0, 8.0, 32.0), *, samples: int = 32, noise: float = 0.05, seed: int = 0,
    num_frequencies: int = 128, time: float = 300.0,
) -> pd.DataFrame:  # fmt: skip
    """Fits a 1-D signal by the infinitely wide network with Gaussian features of several scales.

    The signal holds frequencies 1, 3 and 7. In the given training time a small sigma does not learn the fast part
    (under-fitting), a large one learns the points but not what lies between (over-fitting).

    Args:
        sigmas: Scales of the features.
        samples: Training points, evenly spaced.
        noise: Deviation of the noise on them.
        seed: Seed of noise and features.
        num_frequencies: F.
        time: Gradient-flow time of the training, on `1/(2n) sum (f - y)^2`.

    Returns:
        Columns sigma, x, prediction, target, train_error, test_error (root mean square).
    """
    rng = np.random.default_rng(seed)
    grid = np.arange(512)[:, None] / 512
    points = (np.arange(samples)[:, None] + 0.5) / samples
    signal = lambda x: np.sin(2 * np.pi * x) + 0.5 * np.sin(6 * np.pi * x) + 0.25 * np.cos(14 * np.pi * x)  # noqa: E731
    observed = signal(points[:, 0]) + noise * rng.standard_normal(samples)
    frames = []
    for sigma in sigmas:
        options = {"sigma": sigma, "num_frequencies": num_frequencies, "seed": seed}
        train, test = (coordinate_features(part, **options) for part in (points, grid))
        values, vectors = np.linalg.eigh(_kernel(train, train))
        learnt = -np.expm1(-time * values / samples) / np.maximum(values, 1e-12)
        coefficients = vectors @ (learnt * (vectors.T @ observed))
        prediction, target = _kernel(test, train) @ coefficients, signal(grid[:, 0])
        frames.append(
            pd.DataFrame(
                {
                    "sigma": float(sigma),
                    "x": grid[:, 0],
                    "prediction": prediction,
                    "target": target,
                    "train_error": float(np.sqrt(np.mean((_kernel(train, train) @ coefficients - observed) ** 2))),
                    "test_error": float(np.sqrt(np.mean((prediction - target) ** 2))),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return relu_kernels(np.clip(first @ second.T, -1, 1), depth=2, b_std=0.5, input_dim=first.shape[1])[0]


def photograph(name: str = "astronaut", size: int = 64) -> np.ndarray:
    """A photograph that ships with scikit-image, cropped square and averaged down.

    Args:
        name: One of astronaut, cat, coffee, rocket.
        size: Pixels per side.

    Returns:
        Array (size, size, 3), float64 in [0, 1].
    """
    from skimage import data, transform

    one_of("photograph", name, PHOTOGRAPHS)
    if size < 8:
        raise bad_value("size", size, "at least 8 pixels")
    image = getattr(data, {"cat": "chelsea"}.get(name, name))()
    side = min(image.shape[:2])
    return transform.resize(image[:side, :side] / 255.0, (size, size), anti_aliasing=True)


def image_regression(
    image: np.ndarray, sigmas: Sequence[float] = (0.0, 1.0, 8.0, 64.0), *, steps: int = 200, width: int = 128,
    num_frequencies: int = 64, learning_rate: float = 3e-3, seed: int = 0, records: int = 10,
) -> tuple[pd.DataFrame, dict[float, np.ndarray]]:  # fmt: skip
    """Lets a small network memorise a photograph from pixel coordinates, for several feature scales.

    Trained on every second pixel (a checkerboard); the other pixels test. sigma = 0 means plain coordinates.

    Args:
        image: Array (S, S, 3) in [0, 1].
        sigmas: Scales of the Gaussian features.
        steps: Adam steps over all training pixels.
        width: Units of the two hidden layers.
        num_frequencies: F.
        learning_rate: Of Adam.
        seed: Seed of features and network.
        records: Moments at which quality is recorded.

    Returns:
        Frame with columns sigma, step, train_psnr, test_psnr (decibels) and low, middle, high (mean power of the
        residual in thirds of the radial spectrum); and the final image per sigma.
    """
    side = image.shape[0]
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    train = torch.from_numpy(grid.sum(1) % 2 == 0)
    target = torch.from_numpy(image.reshape(-1, 3)).float()
    moments = set(np.unique(np.geomspace(1, steps, records).astype(int)).tolist())
    rows, images = [], {}
    for sigma in sigmas:
        inputs = _pixel_inputs(grid / side, sigma, num_frequencies, seed)
        network = _pixel_network(inputs.shape[1], width, seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            (network(inputs[train]) - target[train]).square().mean().backward()
            optimizer.step()
            if step in moments:
                with torch.no_grad():
                    output = network(inputs)
                rows.append({"sigma": float(sigma), "step": step, **_quality(output, target, train, side)})
        images[float(sigma)] = output.reshape(side, side, 3).clamp(0, 1).numpy()
    return pd.DataFrame(rows), images


def _pixel_inputs(coordinates: np.ndarray, sigma: float, num_frequencies: int, seed: int) -> Tensor:
    if sigma == 0:
        return torch.from_numpy(2 * coordinates - 1).float()
    features = coordinate_features(coordinates, sigma=sigma, num_frequencies=num_frequencies, seed=seed)
    return torch.from_numpy(features * np.sqrt(num_frequencies)).float()


def _pixel_network(inputs: int, width: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                             nn.Linear(width, 3), nn.Sigmoid())  # fmt: skip


def _quality(output: Tensor, target: Tensor, train: Tensor, side: int) -> dict[str, float]:
    psnr = lambda part: float(-10 * torch.log10((output[part] - target[part]).square().mean()))  # noqa: E731
    residual = (output - target).mean(1).reshape(side, side)
    power = torch.fft.fft2(residual).abs().square() / side**2
    cycles = torch.fft.fftfreq(side) * side
    radius = (cycles[:, None] ** 2 + cycles[None] ** 2).sqrt()
    edges = [0, side / 6, side / 3, side]
    bands = zip(("low", "middle", "high"), edges[:-1], edges[1:], strict=True)
    return {"train_psnr": psnr(train), "test_psnr": psnr(~train)} | {
        name: float(power[(radius >= low) & (radius < high)].mean()) for name, low, high in bands
    }
