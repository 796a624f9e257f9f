"""Fourier features against published numbers and exact identities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vintk_kit.errors import InputError
from vintk_kit.fourier import KINDS, FourierFeatures
from vintk_kit.fourier_maps import gaussian_features, positional_features


def test_golden_features(golden: dict) -> None:
    want = golden["fourier_features"]
    v, b = torch.tensor(want["v"], dtype=torch.float64), torch.tensor(want["B0"], dtype=torch.float64)
    expected = torch.tensor(want["paper_order_[cos,sin]_gauss_scale1_mine"], dtype=torch.float64)
    torch.testing.assert_close(gaussian_features(v, b), expected, rtol=1e-12, atol=1e-12)
    formula = want["posenc_paper_formula_mine"]
    points = v if len(formula["gamma"]) == len(v) else torch.as_tensor(np.random.RandomState(79).rand(3, 3))
    got = positional_features(points, formula["sigma"], formula["m"])
    expected = torch.tensor(formula["gamma"], dtype=torch.float64).flatten(1)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_shape_dtype_and_seed(kind: str) -> None:
    images = torch.randn(2, 3, 8, 7)
    mapping = FourierFeatures(kind, num_frequencies=5)
    mapped = mapping(images)
    assert mapped.shape == (2, mapping.out_channels(3), 8, 7)
    assert mapped.dtype == images.dtype
    assert torch.equal(mapped, FourierFeatures(kind, num_frequencies=5)(images))
    other = FourierFeatures(kind, num_frequencies=5, seed=1)(images)
    assert torch.equal(mapped, other) == (kind in ("identity", "channel-positional", "lowpass", "highpass", "bandpass"))


def test_bands_are_a_partition() -> None:
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    low, high = FourierFeatures("lowpass", low=3), FourierFeatures("highpass", low=3)
    torch.testing.assert_close(low(images) + high(images), images)
    middle, top = FourierFeatures("bandpass", low=3, high=6), FourierFeatures("bandpass", low=6)
    torch.testing.assert_close(middle(images) + top(images), high(images))
    torch.testing.assert_close(middle(middle(images)), middle(images))


def test_one_wave_passes_one_band() -> None:
    x = torch.arange(16, dtype=torch.float64) / 16
    wave = torch.cos(2 * torch.pi * 5 * x).expand(1, 1, 16, 16)
    torch.testing.assert_close(FourierFeatures("bandpass", low=4, high=6)(wave), wave)
    assert FourierFeatures("lowpass", low=5)(wave).abs().max() < 1e-12


def test_modulation_and_rescaling() -> None:
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(FourierFeatures("modulate", low=0)(images), images)
    pair = FourierFeatures("modulate-pair", low=4)(images)
    torch.testing.assert_close(pair[:, :3] ** 2 + pair[:, 3:] ** 2, images**2)
    filtered = FourierFeatures("bandpass", low=6, rescale=True)(images)
    torch.testing.assert_close(filtered.std((1, 2, 3)), images.std((1, 2, 3)))


def test_bad_values() -> None:
    for options in (
        {"kind": "wavelet"},
        {"sigma": 0},
        {"low": -1},
        {"low": 4, "high": 4},
        {"num_frequencies": 0},
    ):
        with pytest.raises(InputError, match=next(iter(reversed(options)))):
            FourierFeatures(**options)
    with pytest.raises(InputError, match="images"):
        FourierFeatures()(torch.zeros(3, 4, 4))
