"""How far the tangent features of a network move when its input is shaken at one frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value
from vintk_kit.ntk.engine import tangent_kernel
from vintk_kit.ntk.recorder import Chooser


def frequency_response(
    network: nn.Module,
    images: Tensor,
    frequencies: Sequence[float],
    *,
    groups: Sequence[str] | None = None,
    amplitude: float = 0.1,
    params: str | Chooser = "weights",
    seed: int = 0,
    relative: bool = True,
) -> pd.DataFrame:
    """Measures the response of the tangent features φ(x) = ∂f(x)/∂θ to sinusoids of radial frequency k.

    For each image, ||φ(x + d) - φ(x)||² = K(x+d, x+d) - 2 K(x, x+d) + K(x, x), where d is a plane wave of k cycles per
    image in a random direction and phase, equal in all channels, of root mean square `amplitude` (also on the pixel
    grid, so a frequency beyond what the grid resolves is folded back).

    Args:
        network: In eval mode; layers as for `tangent_kernel`.
        images: (N, c, H, W).
        frequencies: k, in cycles per image.
        groups: Layer groups (such as "attention" or "attention+mlp"), besides "all"; by default all it has.
        amplitude: Root mean square of d, in units of the images; small against their deviation.
        params: As in `tangent_kernel`.
        seed: Of directions and phases.
        relative: Divides by the mean over the batch of K(x, x) of the group; otherwise by nothing.

    Returns:
        Columns frequency, group, response: the mean over the batch, one row per frequency and group. The same waves'
        directions serve all frequencies, so that rows differ by frequency only.

    Raises:
        InputError: Bad images, frequency or amplitude.

    Cost: one kernel of 2N images per frequency.
    """
    if images.ndim != 4:
        raise bad_value("images", tuple(images.shape), "shape (N, channels, height, width)")
    if not amplitude > 0:
        raise bad_value("amplitude", amplitude, "a positive number")
    rng = np.random.default_rng([seed, 17])
    angles, phases = rng.uniform(0, math.pi, len(images)), rng.uniform(0, 2 * math.pi, len(images))
    rows = []
    for frequency in frequencies:
        if not frequency >= 0:
            raise bad_value("frequencies", frequency, "numbers from 0 up, in cycles per image")
        shaken = images + amplitude * waves(images, float(frequency), angles, phases)
        kernel = tangent_kernel(network, torch.cat([images, shaken]), params=params, precision="float64")
        for name in ("all", *(kernel.groups if groups is None else groups)):
            rows.append((float(frequency), name, _moved(kernel.group(name), len(images), relative)))
    return pd.DataFrame(rows, columns=["frequency", "group", "response"])


def waves(images: Tensor, frequency: float, angles: np.ndarray, phases: np.ndarray) -> Tensor:
    """Plane waves of one radial frequency with root mean square 1 on the grid, (N, 1, H, W)."""
    height, width = images.shape[-2:]
    down, right = np.arange(height)[:, None] / height, np.arange(width)[None, :] / width
    across = np.sin(angles)[:, None, None] * down + np.cos(angles)[:, None, None] * right
    wave = np.cos(2 * math.pi * frequency * across + phases[:, None, None])
    size = np.sqrt((wave**2).mean((1, 2), keepdims=True))
    return torch.as_tensor(wave / np.maximum(size, 1e-6))[:, None].to(images)


def _moved(kernel: Tensor, n: int, relative: bool) -> float:
    diagonal = kernel.diagonal()
    moved = (diagonal[n:] - 2 * kernel.diagonal(n) + diagonal[:n]).clamp_min(0).mean()
    return float(moved / diagonal[:n].mean()) if relative else float(moved)
