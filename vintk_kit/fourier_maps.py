"""The mappings of `vintk_kit.fourier` on tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vintk_kit.errors import bad_value
from vintk_kit.fourier import FourierFeatures


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


def map_images(settings: FourierFeatures, images: Tensor) -> Tensor:
    """Maps images of shape (N, c, H, W) to (N, settings.out_channels(c), H, W)."""
    if images.ndim != 4:
        raise bad_value("images", tuple(images.shape), "shape (N, channels, height, width)")
    if settings.kind == "identity":
        return images
    mapped = _mapped(settings, images)
    if settings.rescale:
        deviation = mapped.std((1, 2, 3), keepdim=True)
        ratio = images.std((1, 2, 3), keepdim=True) / deviation
        mapped = mapped * torch.where(deviation > 0, ratio, 1.0)
    return mapped


def _mapped(settings: FourierFeatures, images: Tensor) -> Tensor:
    family, _, variant = settings.kind.partition("-")
    if family in ("channel", "fold"):
        features = _channels(settings, images, variant)
        return features if family == "channel" else _fold(settings, features, images.shape[1])
    if family == "modulate":
        return _modulated(settings, images, pair=variant == "pair")
    return _filtered(settings, images)


def _random(settings: FourierFeatures, stream: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([settings.seed, stream]).standard_normal(shape)


def _channels(settings: FourierFeatures, images: Tensor, variant: str) -> Tensor:
    pixels = images.movedim(1, -1)
    if variant == "positional":
        features = positional_features(pixels, settings.sigma, settings.num_frequencies)
    else:
        matrix = settings.sigma * _random(settings, 0, settings.num_frequencies, images.shape[1])
        features = gaussian_features(pixels, torch.as_tensor(matrix).to(images))
    return features.movedim(-1, 1).contiguous()


def _fold(settings: FourierFeatures, features: Tensor, channels: int) -> Tensor:
    wide = features.shape[1]
    matrix = torch.as_tensor(_random(settings, 1, channels, wide) / math.sqrt(wide)).to(features)
    return torch.einsum("oc,nchw->nohw", matrix, features)


def _modulated(settings: FourierFeatures, images: Tensor, pair: bool) -> Tensor:
    direction = math.pi * np.random.default_rng([settings.seed, 2]).random()
    height, width = images.shape[-2:]
    down = torch.arange(height, dtype=torch.float64) / height
    right = torch.arange(width, dtype=torch.float64) / width
    across = math.sin(direction) * down[:, None] + math.cos(direction) * right[None, :]
    angle = (2 * math.pi * settings.low * across).to(images)
    waves = [angle.cos(), angle.sin()] if pair else [angle.cos()]
    return torch.cat([images * wave for wave in waves], 1)


def _filtered(settings: FourierFeatures, images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    radius = radial_frequency(height, width, images.device)
    keep = radius < settings.low if settings.kind == "lowpass" else radius >= settings.low
    if settings.kind == "bandpass" and settings.high is not None:
        keep &= radius < settings.high
    return torch.fft.irfft2(torch.fft.rfft2(images) * keep, s=(height, width))
