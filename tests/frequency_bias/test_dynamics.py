"""Training follows the kernel; the bound holds; Fourier features move the spectrum."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from vintk_kit.errors import InputError
from vintk_kit.frequency_bias import (
    band_share,
    check_bound,
    circle_eigenvalues,
    feature_spectra,
    high_frequency_drop,
    image_regression,
    learning_curves,
    learning_rate,
    mapped_kernel_eigenvalues,
    measured_rates,
    photograph,
    relu_kernels,
    signal_regression,
)


@pytest.mark.slow
def test_measured_decay_is_within_five_percent_at_width_4096():
    """Mean of four networks, each frequency alone; a single network scatters by about 1 / sqrt(width) x kurtosis."""
    steps = (2, 6, 25, 45, 75, 110, 150, 200)
    runs = [
        learning_curves([k], width=4096, seed=seed, steps=count, learning_rate=0.5, records=1000)
        for seed in range(4)
        for k, count in zip(range(1, 9), steps, strict=True)
    ]
    rates = measured_rates(pd.concat(runs))
    assert list(rates["frequency"]) == list(range(1, 9))
    assert (rates["ratio"] - 1).abs().max() < 0.05


def test_low_frequencies_are_learnt_first():
    curves = learning_curves((1, 4), width=256, steps=60)
    last = curves[curves["step"] == 60].set_index("frequency")["measured"]
    assert last[1] < 0.1 < 0.5 < last[4]


def circle_kernel(n: int = 48) -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * np.arange(n) / n
    kernel, _ = relu_kernels(np.cos(angle[:, None] - angle[None]))
    waves = np.stack([wave(k * angle) for k in range(7, n // 2) for wave in (np.cos, np.sin)], 1)
    return kernel / n, waves / np.linalg.norm(waves, axis=0)


def test_bound_is_never_violated_and_is_tight():
    kernel, basis = circle_kernel()
    checks = check_bound(kernel, basis, targets=200)
    assert not checks["violated"].any()
    assert checks.loc[checks["kind"] == "basis", "ratio"].min() > 1 - 1e-6
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((24, 30))
    basis, _ = np.linalg.qr(rng.standard_normal((24, 10)))
    assert not check_bound(factor @ factor.T / 24, basis, targets=200)["violated"].any()


def test_rate_equals_the_matrix_exponential():
    from scipy.linalg import expm

    kernel, basis = circle_kernel(24)
    target = basis @ np.arange(1.0, basis.shape[1] + 1)
    rate, bound = learning_rate(kernel, target, 3.0)
    left = np.linalg.norm(expm(-3.0 * kernel) @ target) / np.linalg.norm(target)
    assert rate == pytest.approx(-np.log(left) / 3.0, rel=1e-9)
    assert rate <= bound
    with pytest.raises(InputError, match="zero vector"):
        learning_rate(kernel, 0 * target, 1.0)


def test_high_frequencies_are_a_small_share_of_the_trace():
    assert band_share(circle_eigenvalues(256), 4) < 0.05


def test_larger_scales_move_eigenvalues_to_higher_frequencies():
    centre = [np.average(np.arange(65), weights=np.maximum(mapped_kernel_eigenvalues(128, sigma=s), 0)) for s in (1, 8)]
    assert centre[1] > 2 * centre[0]


def test_signal_is_underfitted_and_overfitted():
    error = signal_regression((0.1, 2.0, 32.0)).groupby("sigma")["test_error"].first()
    assert error[2.0] < error[32.0]
    assert error[2.0] < error[0.1]


def test_a_photograph_is_learnt_best_at_a_middle_scale():
    quality, images = image_regression(photograph(size=32), (0.0, 1.0, 32.0), steps=80, width=64)
    final = quality[quality["step"] == 80].set_index("sigma")
    assert final["test_psnr"].idxmax() == 1.0
    assert final["train_psnr"].idxmax() == 32.0
    assert images[1.0].shape == (32, 32, 3)


class Smoothing(nn.Module):
    """A network whose first convolution passes everything and whose second averages."""

    def __init__(self) -> None:
        super().__init__()
        self.sharp, self.smooth = (nn.Conv2d(3, 3, 3, padding=1, bias=False, groups=3) for _ in range(2))
        with torch.no_grad():
            self.sharp.weight.copy_(torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]).expand(3, 1, 3, 3))
            self.smooth.weight.fill_(1 / 9)

    def forward(self, x):
        return self.smooth(self.sharp(x)).mean((2, 3))


def test_smoothing_lowers_high_frequencies_of_feature_maps():
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    drops = high_frequency_drop(feature_spectra(Smoothing(), images)).set_index("layer")["drop"]
    assert drops["smooth"] < drops["sharp"] - 1
    with pytest.raises(InputError, match="no square feature map"):
        feature_spectra(nn.Flatten(), images)


def test_bad_training_settings_are_refused():
    with pytest.raises(InputError, match="frequency: got 40"):
        learning_curves((40,), n=64)
    with pytest.raises(InputError, match="2 / lambda_0"):
        learning_curves((1,), learning_rate=5.0)
    with pytest.raises(InputError, match="photograph: got 'dog'"):
        photograph("dog")
