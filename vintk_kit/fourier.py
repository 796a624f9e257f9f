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
from typing import TYPE_CHECKING

from vintk_kit.errors import bad_value, one_of

if TYPE_CHECKING:
    from torch import Tensor

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
        from vintk_kit.fourier_maps import map_images  # torch is loaded with the first images, not with the settings

        return map_images(self, images)
