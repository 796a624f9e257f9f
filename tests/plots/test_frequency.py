"""Every figure of the frequency laboratory draws what its frame holds."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit import frequency_bias as fb
from vintk_kit.plots import frequency as draw
from vintk_kit.plots.template import log_axis


def test_eigenvalues_that_vanish_are_left_out():
    figure = draw.eigenvalue_figure({"no bias": fb.circle_eigenvalues(64, b_std=0.0)})
    assert not set(figure.data[0].x) & {3, 5, 7}
    assert figure.layout.xaxis.type == "log"


def test_labels_of_logarithmic_axes_are_whole_numbers():
    axis = log_axis(np.array([0.4, 20.0, np.nan]), [0])
    assert axis["ticktext"] == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", "200", "500"]
    assert log_axis([1e-3, 1e4])["ticktext"][:2] == ["0.001", "0.01"]
    assert log_axis([]) == {"type": "log"}
    curves = fb.learning_curves((1, 2), width=32, steps=20)
    assert "0.5" in draw.curves_figure(curves).layout.xaxis.ticktext


def test_curves_rates_and_animation_show_every_frequency():
    curves = fb.learning_curves((1, 2), width=32, steps=20)
    assert [trace.name for trace in draw.curves_figure(curves).data] == [
        "k = 1, measured", "k = 1, predicted", "k = 2, measured", "k = 2, predicted",
    ]  # fmt: skip
    animation = draw.animation_figure(curves, moments=5)
    assert len(animation.frames) == 5
    assert len(animation.layout.sliders[0].steps) == 5
    assert "k^" in draw.rates_figure(fb.measured_rates(curves)).layout.title.text


def test_small_figures_are_titled_by_their_numbers():
    deviation = pd.DataFrame({"width": [16, 64], "deviation": [0.4, 0.2]})
    assert "width^-0.50" in draw.width_figure(deviation, -0.5).layout.title.text
    checks = pd.DataFrame({"kind": ["random"], "rate": [0.1], "bound": [0.2], "violated": [False]})
    assert draw.bound_figure(checks).layout.title.text == "1 trials, 0 above the bound"
    times = pd.DataFrame({"frequency": [2, 2], "region": ["dense", "sparse"], "time": [1.0, 4.0]})
    assert len(draw.density_figure(times).data) == 2


def test_regression_figures_hold_one_panel_per_scale():
    fits = fb.signal_regression((1.0, 2.0), samples=8, num_frequencies=8)
    assert len(draw.signal_figure(fits).data) == 4
    quality, images = fb.image_regression(fb.photograph(size=12), (0.0, 1.0), steps=3, width=8)
    figure = draw.images_figure(np.zeros((12, 12, 3)), images)
    assert sum(isinstance(trace, go.Image) for trace in figure.data) == 3
    assert len(draw.quality_figure(quality).data) == 8


def test_responses_are_scaled_to_one():
    frame = pd.DataFrame({"network": ["a", "a"], "frequency": [1, 2], "response": [2.0, 4.0]})
    assert max(draw.response_figure(frame).data[0].y) == 1
    drops = pd.DataFrame({"network": ["a", "a"], "order": [0, 1], "layer": ["x", "y"], "drop": [-1.0, -2.0]})
    assert draw.spectra_figure(drops).data[0].text == ("x", "y")
