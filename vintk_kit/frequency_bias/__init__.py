"""Frequency bias of the tangent kernel: theory, learning curves, a bound, and pictures of real networks.

The objects compose into lessons: `theory` gives eigenvalues per frequency, `dynamics` trains finite networks
and compares, `regression` adds Fourier features in one and two dimensions, `bound` states what trace-like
statistics cannot see, `spectra` looks at ViTs and CNNs.
"""

from vintk_kit.frequency_bias.bound import band_share, check_bound, learning_rate
from vintk_kit.frequency_bias.density import local_learning_times
from vintk_kit.frequency_bias.dynamics import learning_curves, measured_rates, width_deviation
from vintk_kit.frequency_bias.networks import TeachingMLP, circle_points, empirical_kernel
from vintk_kit.frequency_bias.pictures import (
    depth_responses,
    network_drops,
    network_responses,
    photographs,
    reference_networks,
    small_vit,
    variant_responses,
)
from vintk_kit.frequency_bias.regression import (
    image_regression,
    mapped_kernel_eigenvalues,
    photograph,
    signal_regression,
)
from vintk_kit.frequency_bias.spectra import feature_spectra, high_frequency_drop
from vintk_kit.frequency_bias.theory import (
    circle_eigenvalues,
    decay_exponent,
    relu_kernels,
    sphere_eigenvalues,
    time_to_learn,
)

__all__ = [
    "TeachingMLP",
    "band_share",
    "check_bound",
    "circle_eigenvalues",
    "circle_points",
    "decay_exponent",
    "depth_responses",
    "empirical_kernel",
    "feature_spectra",
    "high_frequency_drop",
    "image_regression",
    "learning_curves",
    "learning_rate",
    "local_learning_times",
    "mapped_kernel_eigenvalues",
    "measured_rates",
    "network_drops",
    "network_responses",
    "photograph",
    "photographs",
    "reference_networks",
    "relu_kernels",
    "signal_regression",
    "small_vit",
    "sphere_eigenvalues",
    "time_to_learn",
    "variant_responses",
    "width_deviation",
]
