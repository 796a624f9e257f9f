"""Fourier features of images: the input mappings that move a tangent kernel to other frequencies.

The mapping of Tancik et al. (NeurIPS 2020) is defined for low-dimensional coordinates. An image offers several ways
to use it, and none is known to be the one of ViNTK (arXiv 2405.04536), so each is a named kind:

| kind | output | channels |
|---|---|---|
| `identity` | the image | c |
| `channel-gaussian` | [cos 2πBv, sin 2πBv] of each pixel's v in R^c, B ~ N(0, sigma²) of shape (m, c) | 2m |
| `channel-positional` | cos and sin of 2π sigma^(j/m) v, j = 0..m-1, for each channel | 2mc |
| `fold-gaussian`, `fold-positional` | the same, folded back by a fixed random matrix | c |
| `modulate` | x(p) cos 2π b·p, with \\|b\\| = low and a seeded direction: the spectrum moves by ±b | c |
| `modulate-pair` | x(p) cos 2π b·p and x(p) sin 2π b·p | 2c |
| `lowpass` | radial frequencies below `low` | c |
| `highpass` | radial frequencies from `low` up | c |
| `bandpass` | radial frequencies from `low` up to, not including, `high` (None: no limit) | c |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vintk_kit.errors import bad_value, one_of

KINDS = (
    "identity",
    "channel-gaussian",
    "channel-positional",
    "fold-gaussian",
    "fold-positional",
    "modulate",
    "modulate-pair",
    "lowpass",
    "highpass",
    "bandpass",
)


def gaussian_features(v: Tensor, matrix: Tensor) -> Tensor:
    """Returns [cos 2πBv, sin 2πBv] over the last dimension.

    Args:
        v: Points of shape (..., d).
        matrix: B of shape (m, d).

    Returns:
        Features of shape (..., 2m): all cosines, then all sines.
    """
    angle = 2 * math.pi * (v @ matrix.T)
    return torch.cat([angle.cos(), angle.sin()], -1)


def positional_features(v: Tensor, sigma: float, m: int) -> Tensor:
    """Returns cos and sin of 2π sigma^(j/m) v for j = 0..m-1.

    Args:
        v: Points of shape (..., d).
        sigma: Base of the geometric series of frequencies.
        m: Number of frequencies.

    Returns:
        Features of shape (..., 2md), in the order (j, cos or sin, coordinate).
    """
    frequencies = sigma ** (torch.arange(m, dtype=v.dtype, device=v.device) / m)
    angle = 2 * math.pi * frequencies[:, None] * v[..., None, :]
    return torch.stack([angle.cos(), angle.sin()], -2).flatten(-3)


def radial_frequency(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Returns the radial frequency of each coefficient of `torch.fft.rfft2`, in cycles per image, (H, W//2+1)."""
    vertical = torch.fft.fftfreq(height, 1 / height, device=device, dtype=torch.float64)
    horizontal = torch.fft.rfftfreq(width, 1 / width, device=device, dtype=torch.float64)
    return torch.hypot(vertical[:, None], horizontal[None, :])


@dataclass(frozen=True)
class FourierFeatures:
    """A mapping of image batches; see the module's table for the kinds.

    Attributes:
        kind: One of `KINDS`.
        sigma: Scale of the Gaussian frequencies, or base of the positional ones; per unit of pixel value.
        low: Lower edge of the band, the cut-off of `lowpass` and `highpass`, or the length of the modulation
            vector, in cycles per image.
        high: Upper edge of the band in cycles per image; None means no limit. Used by `bandpass` only.
        num_frequencies: m, frequencies of the channel and fold kinds.
        seed: Seed of B, of the folding matrix and of the modulation's direction.
        rescale: Gives each mapped image the standard deviation of the original (not for identity); a constant
            result stays as it is.
    """

    kind: str = "bandpass"
    sigma: float = 1.0
    low: float = 2.0
    high: float | None = None
    num_frequencies: int = 4
    seed: int = 0
    rescale: bool = False

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        if not self.sigma > 0 or not math.isfinite(self.sigma):
            raise bad_value("sigma", self.sigma, "a positive number")
        if not self.low >= 0:
            raise bad_value("low", self.low, "a frequency from 0 up, in cycles per image")
        if self.high is not None and not self.high > self.low:
            raise bad_value("high", self.high, f"a frequency above low ({self.low}), or None")
        if self.num_frequencies < 1:
            raise bad_value("num_frequencies", self.num_frequencies, "a positive integer")

    def out_channels(self, in_channels: int) -> int:
        """Returns the number of channels of the mapped images."""
        return {
            "channel-gaussian": 2 * self.num_frequencies,
            "channel-positional": 2 * self.num_frequencies * in_channels,
            "modulate-pair": 2 * in_channels,
        }.get(self.kind, in_channels)

    def __call__(self, images: Tensor) -> Tensor:
        """Maps images of shape (N, c, H, W) to (N, out_channels(c), H, W)."""
        if images.ndim != 4:
            raise bad_value("images", tuple(images.shape), "shape (N, channels, height, width)")
        if self.kind == "identity":
            return images
        mapped = self._mapped(images)
        if self.rescale:
            deviation = mapped.std((1, 2, 3), keepdim=True)
            ratio = images.std((1, 2, 3), keepdim=True) / deviation
            mapped = mapped * torch.where(deviation > 0, ratio, 1.0)
        return mapped

    def _mapped(self, images: Tensor) -> Tensor:
        family, _, variant = self.kind.partition("-")
        if family in ("channel", "fold"):
            features = self._channels(images, variant)
            return features if family == "channel" else self._fold(features, images.shape[1])
        if family == "modulate":
            return self._modulated(images, pair=variant == "pair")
        return self._filtered(images)

    def _random(self, stream: int, *shape: int) -> np.ndarray:
        return np.random.default_rng([self.seed, stream]).standard_normal(shape)

    def _channels(self, images: Tensor, variant: str) -> Tensor:
        pixels = images.movedim(1, -1)
        if variant == "positional":
            features = positional_features(pixels, self.sigma, self.num_frequencies)
        else:
            matrix = self.sigma * self._random(0, self.num_frequencies, images.shape[1])
            features = gaussian_features(pixels, torch.as_tensor(matrix).to(images))
        return features.movedim(-1, 1).contiguous()

    def _fold(self, features: Tensor, channels: int) -> Tensor:
        wide = features.shape[1]
        matrix = torch.as_tensor(self._random(1, channels, wide) / math.sqrt(wide)).to(features)
        return torch.einsum("oc,nchw->nohw", matrix, features)

    def _modulated(self, images: Tensor, pair: bool) -> Tensor:
        direction = math.pi * np.random.default_rng([self.seed, 2]).random()
        height, width = images.shape[-2:]
        down = torch.arange(height, dtype=torch.float64) / height
        right = torch.arange(width, dtype=torch.float64) / width
        across = math.sin(direction) * down[:, None] + math.cos(direction) * right[None, :]
        angle = (2 * math.pi * self.low * across).to(images)
        waves = [angle.cos(), angle.sin()] if pair else [angle.cos()]
        return torch.cat([images * wave for wave in waves], 1)

    def _filtered(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        radius = radial_frequency(height, width, images.device)
        keep = radius < self.low if self.kind == "lowpass" else radius >= self.low
        if self.kind == "bandpass" and self.high is not None:
            keep &= radius < self.high
        return torch.fft.irfft2(torch.fft.rfft2(images) * keep, s=(height, width))
