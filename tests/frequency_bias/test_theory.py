"""Analytic kernels against golden numbers, known decay rates and a wide network."""

import numpy as np
import pytest

from vintk_kit.errors import InputError
from vintk_kit.frequency_bias import (
    TeachingMLP,
    circle_eigenvalues,
    circle_points,
    decay_exponent,
    empirical_kernel,
    local_learning_times,
    relu_kernels,
    sphere_eigenvalues,
    time_to_learn,
    width_deviation,
)


def golden_settings(golden):
    for text, numbers in golden["circle_ntk"]["settings"].items():
        fields = dict(pair.split("=") for pair in text.split(","))
        w_std = 2**0.5 if fields["W_std"] == "sqrt2" else float(fields["W_std"])
        network = {"depth": int(fields["hidden_layers"]), "w_std": w_std, "b_std": float(fields["b_std"])}
        yield int(fields["n"]), network, numbers


def test_circle_eigenvalues_are_golden(golden):
    for n, network, numbers in golden_settings(golden):
        expected = np.array(numbers["ntk_eig_by_k"])
        ours = circle_eigenvalues(n, **network)[: len(expected)]
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-15)


def test_output_covariance_is_golden(golden):
    for n, network, numbers in golden_settings(golden):
        _, covariance = relu_kernels(np.cos(2 * np.pi * np.arange(n) / n), **network)
        expected = np.array(numbers["nngp_eig_by_k"])
        np.testing.assert_allclose((np.fft.rfft(covariance).real / n)[: len(expected)], expected, rtol=1e-6, atol=1e-15)


def test_without_bias_odd_frequencies_above_one_vanish():
    values = circle_eigenvalues(1024, b_std=0.0)
    assert values[1] == pytest.approx(0.5, rel=1e-9)
    assert np.abs(values[3:20:2]).max() < 1e-12 * values[0]
    assert np.isinf(time_to_learn(values)[3])


@pytest.mark.parametrize("dim", [3, 4, 5])
def test_decay_on_the_sphere_is_the_known_rate(dim):
    """Eigenvalues fall as k^-dim on the sphere in R^dim (Basri et al. 2020, Cao et al. 2021)."""
    exponent = decay_exponent(sphere_eigenvalues(120, dim), np.arange(60, 121))
    assert exponent == pytest.approx(dim, abs=0.1)


def test_decay_on_the_circle_is_quadratic():
    assert decay_exponent(circle_eigenvalues(2**16), np.arange(64, 512)) == pytest.approx(2, abs=0.01)


def test_sphere_and_circle_agree_in_the_mean():
    """Invariant: eigenvalues weighted by multiplicity sum to Theta(x, x)."""
    values = sphere_eigenvalues(300, 3, nodes=1500)
    diagonal, _ = relu_kernels(np.array(1.0), input_dim=3)
    assert np.sum((2 * np.arange(301) + 1) * values) == pytest.approx(float(diagonal), rel=1e-2)


def test_wide_network_has_the_analytic_kernel():
    points = circle_points(8)
    cosine = (points.double() @ points.double().T).clamp(-1, 1).numpy()
    analytic, _ = relu_kernels(cosine, depth=2)
    kernels = [empirical_kernel(TeachingMLP(2, 512, 2, seed=seed), points).numpy() for seed in range(4)]
    assert np.linalg.norm(np.mean(kernels, 0) - analytic) < 0.1 * np.linalg.norm(analytic)


def test_deviation_falls_with_the_square_root_of_width():
    _, slope = width_deviation((128, 512, 2048), n=8, seeds=16)
    assert slope == pytest.approx(-0.5, abs=0.12)


def test_sparse_half_learns_later_by_the_density_ratio():
    times = local_learning_times((8, 12), n=500).pivot(index="frequency", columns="region", values="time")
    ratio = times["sparse"] / times["dense"]
    assert ratio.loc[12] == pytest.approx(4, rel=0.2)
    growth = times["dense"].loc[12] / times["dense"].loc[8]
    assert np.log(growth) / np.log(12 / 8) == pytest.approx(2, abs=0.35)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relu_kernels(np.array(0.0), depth=0), "depth: got 0"),
        (lambda: relu_kernels(np.array(1.2)), "cosine: got 1.2"),
        (lambda: sphere_eigenvalues(4, 2), "dim: got 2"),
        (lambda: time_to_learn(np.ones(3), 1.5), "remaining: got 1.5"),
        (lambda: decay_exponent(np.array([1.0, 0, 0, 0, 0]), start=1), "positive eigenvalues"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
