"""Figures of scores: the numbers in them, legibility on both themes, empty frames."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from vintk_kit.errors import InputError
from vintk_kit.plots.kernels import eigenvalue_curves, kernel_figure, montage, radial_power, sweep_figure
from vintk_kit.plots.scores import (
    architecture_text,
    histogram_figure,
    running_tau,
    running_tau_figure,
    scatter_figure,
    tau_interval,
    tidy_number,
    training_figure,
)
from vintk_kit.plots.template import PALETTE, TEXT, empty, fade, layout


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    bright, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_text_and_palette_are_legible_on_both_themes(background):
    assert contrast(TEXT, background) > 4
    for colour in PALETTE:
        assert contrast(colour, background) >= 3, colour


def test_layout_fixes_the_height_and_refuses_nonsense():
    figure = layout(empty("nothing"), title="t", x="a", height=200)
    assert (figure.layout.height, figure.layout.title.text, figure.layout.xaxis.title.text) == (200, "t", "a")
    assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    with pytest.raises(InputError, match="height"):
        layout(figure, height=5)
    assert fade("#102030", 0.5) == "rgba(16,32,48,0.5)"


def test_tau_is_scipys_and_its_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.integers(0, 5, 50).astype(float)
    assert tau_interval(x, y)[0] == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
    inside = 0
    truth = 2 / np.pi * np.arcsin(0.6)  # of a bivariate normal with correlation 0.6
    for _ in range(400):
        a = rng.normal(size=60)
        b = 0.6 * a + 0.8 * rng.normal(size=60)
        _, low, high = tau_interval(a, b)
        inside += low <= truth <= high
    assert 0.90 < inside / 400 < 0.985
    assert np.isnan(tau_interval(x[:3], y[:3])).all()
    assert np.isnan(tau_interval(x, np.ones(50))).all()


def test_the_running_tau_ends_at_the_tau_of_all_and_skips_missing_scores():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"score": rng.normal(size=40), "accuracy": rng.normal(size=40)})
    frame.loc[5, "score"] = np.nan
    curve = running_tau(frame, "score", "accuracy")
    known = frame.dropna()
    assert curve["n"].iloc[-1] == 39
    assert curve["tau"].iloc[-1] == pytest.approx(kendalltau(known["score"], known["accuracy"]).statistic)
    assert (curve["low"] <= curve["tau"]).all()


def test_scatter_shows_points_front_and_selection():
    frame = pd.DataFrame({"key": ["a", "b", "c"], "params": [3.0, 1.0, 2.0], "score": [1.0, 2.0, np.nan]})
    figure = scatter_figure(frame, front=["b", "a"], selected="c")
    assert list(figure.data[0].x) == [3, 1, 2]
    assert list(figure.data[1].x) == [1, 3]
    assert list(figure.data[2].x) == [2]
    assert len(scatter_figure(pd.DataFrame()).data) == 3
    assert scatter_figure(pd.DataFrame({"params": np.ones(3000), "score": np.ones(3000)})).data[0].type == "scattergl"
    with pytest.raises(InputError, match="column: got 'size'"):
        scatter_figure(frame, x="size")
    with pytest.raises(InputError, match="column"):
        histogram_figure(frame, "size")


def test_live_figures_keep_their_traces_while_they_fill():
    full = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.5], "val_accuracy": [0.1, 0.2], "lr": [1e-3, 1e-4]})
    for some, more in itertools.pairwise([pd.DataFrame(), full.head(1), full]):
        assert len(training_figure(some).data) == len(training_figure(more).data)
    few = pd.DataFrame({"accuracy": [0.1], "params": [1.0], "vintk": [0.3]})
    assert len(running_tau_figure(few, ["vintk"]).data) == 5
    assert len(running_tau_figure(few, []).data) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(5_718_000, "5.718M"), (123_456, "123.5k"), (0.43125, "0.4313"), (2.1e9, "2.1G"), (np.nan, "n/a"), (9999, "9999")],
)
def test_numbers_have_sensible_digits(value, text):
    assert tidy_number(value) == text


def test_architectures_read_as_lines():
    text = architecture_text('{"space": "s", "choices": {"depth": 2, "heads": [1, 2]}}')
    assert text == "depth 2<br>heads 1 2"
    assert architecture_text("k1") == "k1"


def test_radial_power_finds_a_grating_and_keeps_the_energy():
    side = 32
    wave = np.cos(2 * np.pi * 5 * np.arange(side) / side)
    radius, power = radial_power(np.broadcast_to(wave, (2, 3, side, side)))
    assert radius[np.argmax(power)] == 5
    assert (np.delete(power, 5) < 1e-20).all()
    rng = np.random.default_rng(0)
    _, white = radial_power(rng.normal(size=(50, 3, side, side)))
    assert white == pytest.approx(np.ones(17), abs=0.25)  # white noise: power 1 at every frequency
    with pytest.raises(InputError, match="images"):
        radial_power(np.zeros((2, 3, 8, 4)))


def test_kernel_figures_hold_eigenvalues_in_order_and_the_montage_is_a_picture():
    kernel = np.diag([1.0, 4.0, 2.0])
    curves = eigenvalue_curves({"plain": kernel, "mapped": np.zeros((2, 2))})
    assert curves["plain"].tolist() == [1, 0.5, 0.25]
    spectra = {name: (np.arange(3), np.ones(3)) for name in ("plain", "mapped")}
    response = pd.DataFrame({"frequency": [1, 1], "group": ["plain", "mapped"], "response": [1.0, 2.0]})
    scores = pd.DataFrame({"architecture": ["A"], "plain": [-3.0], "mapped": [-2.0]})
    assert len(kernel_figure(spectra, curves, response, scores).data) == 8
    nothing = response.assign(response=[1e-3, 0.0])
    empty = kernel_figure(spectra, {"plain": curves["plain"], "mapped": np.array([1.0, 0, 0])}, nothing, scores)
    assert np.isnan(empty.data[3].y[1:]).all()  # what a mapping removed is a gap, not thirteen decades of floor
    assert np.isnan(empty.data[5].y).all()
    wide = kernel_figure(spectra, {"plain": np.logspace(0, -11, 9)}, nothing, scores)
    assert wide.layout.yaxis2.dtick == 2
    assert montage(np.random.rand(1, 3, 8, 8), np.random.rand(1, 12, 8, 8)).startswith(b"\x89PNG")
    frame = pd.DataFrame({"edge": [0, 1, 0, 1], "architecture": list("AABB"), "score": [0.0, 1, 2, 3]})
    assert [trace.name for trace in sweep_figure(frame).data] == ["A", "B"]
