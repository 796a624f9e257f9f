"""Spectra of feature maps: which blocks pass low frequencies, which keep high ones."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError


def feature_spectra(network: nn.Module, images: Tensor, *, bins: int = 8) -> pd.DataFrame:
    """Log-amplitude of the 2-D Fourier transform of feature maps after every attention, MLP and block.

    Amplitudes are averaged over samples and channels and over rings of the radius; the value at radius zero of
    the same map is subtracted, so the numbers compare across depths (Park and Kim 2022, arXiv 2202.06709).

    Args:
        network: A ViT whose blocks are named `blocks.i` (or `stages`/`layers` for hierarchical networks), or a CNN
            with four-dimensional feature maps.
        images: Batch (N, 3, H, W).
        bins: Rings between radius 0 and pi.

    Returns:
        Columns layer (path), kind ("attention", "mlp", "block", "convolution"), order, radius (in units of pi),
        log_amplitude (relative to radius 0).

    Raises:
        InputError: If no layer yields a square map of at least 4 x 4 positions.
    """
    kinds = {path: kind for path, module in network.named_modules() if (kind := _kind(path, module))}
    maps: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(path).register_forward_hook(lambda _m, _i, out, path=path: maps.setdefault(path, out))
        for path in kinds
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    frames = [
        _radial(features, bins).assign(layer=path, kind=kinds[path], order=order)
        for order, (path, out) in enumerate(maps.items())
        if (features := _as_map(out)) is not None
    ]
    if not frames:
        raise InputError("feature spectra: got no square feature map of at least 4 x 4 positions in this network")
    return pd.concat(frames, ignore_index=True)


def _kind(path: str, module: nn.Module) -> str | None:
    name = path.rsplit(".", 1)[-1]
    if name == "attn":
        return "attention"
    if name == "mlp":
        return "mlp"
    if path.rsplit(".", 2)[-2:-1] == ["blocks"] and name.isdigit():
        return "block"
    return "convolution" if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1 else None


def _as_map(out: object) -> Tensor | None:
    """Brings tokens or maps to (N, D, h, h); None if there is no such square grid."""
    if not isinstance(out, Tensor):
        return None
    if out.ndim == 4:
        maps = out if out.shape[2] == out.shape[3] else out.permute(0, 3, 1, 2)
    elif out.ndim == 3:
        side = math.isqrt(out.shape[1])
        # Class and distillation tokens come first; what exceeds the largest square is a prefix.
        maps = out[:, out.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
    else:
        return None
    return maps if maps.shape[2] == maps.shape[3] >= 4 else None


def _radial(maps: Tensor, bins: int) -> pd.DataFrame:
    side = maps.shape[-1]
    amplitude = torch.fft.fft2(maps.double()).abs().mean((0, 1))
    frequency = 2 * torch.fft.fftfreq(side, dtype=torch.float64)
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt()
    centre = amplitude[0, 0].clamp_min(1e-300).log()
    ring = (radius * bins).round().long()
    rows = []
    for index in range(1, bins + 1):
        inside = ring == index
        if inside.any():
            value = amplitude[inside].mean().clamp_min(1e-300).log() - centre
            rows.append({"radius": index / bins, "log_amplitude": float(value)})
    return pd.DataFrame(rows)


def high_frequency_drop(spectra: pd.DataFrame) -> pd.DataFrame:
    """Log-amplitude at radius pi by layer: the lower, the more the layer has smoothed.

    Args:
        spectra: Frame of `feature_spectra`.

    Returns:
        Columns order, layer, kind, drop.
    """
    last = spectra[spectra["radius"] == 1.0]
    return last.rename(columns={"log_amplitude": "drop"})[["order", "layer", "kind", "drop"]].reset_index(drop=True)
