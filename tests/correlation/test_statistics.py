"""Fast statistics against scipy and against obvious loops."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vintk_kit.correlation import (
    Interval,
    architectures_needed,
    correlation_table,
    noise_ceiling,
    pair_signs,
    partial,
    resample_counts,
    seed_noise,
    taus,
)
from vintk_kit.correlation.statistics import pearson_log, regret, size_bins, top_recall
from vintk_kit.errors import InputError


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    size = rng.uniform(1, 10, 40)
    accuracy = np.round(size + rng.normal(0, 2, 40), 0)  # with ties
    return pd.DataFrame({"score": size + rng.normal(0, 3, 40), "accuracy": accuracy, "params": size,
                         "ntk": rng.normal(0, 1, 40), "cell": np.repeat(list("abcd"), 10)})  # fmt: skip


def test_tau_is_scipys_tau_b_with_ties(data):
    value = taus(pair_signs(data["score"]), pair_signs(data["accuracy"]), resample_counts(40, 0, 0))[0]
    assert value == pytest.approx(stats.kendalltau(data["score"], data["accuracy"]).statistic, abs=1e-6)


def test_every_resample_is_the_tau_of_the_repeated_sample(data):
    counts = resample_counts(40, 5, 1)
    fast = taus(pair_signs(data["score"]), pair_signs(data["accuracy"]), counts)
    for row, value in zip(counts, fast, strict=True):
        drawn = data.iloc[np.repeat(np.arange(40), row.astype(int))]
        assert value == pytest.approx(stats.kendalltau(drawn["score"], drawn["accuracy"]).statistic, abs=1e-6)


def test_pairs_in_one_cell_are_the_only_ones_counted(data):
    cells = data["cell"].to_numpy()
    value = taus(pair_signs(data["score"]), pair_signs(data["accuracy"]), resample_counts(40, 0, 0),
                 cells[:, None] == cells[None])[0]  # fmt: skip
    agree = scale_x = scale_y = 0
    for _, part in data.groupby("cell"):
        x, y = pair_signs(part["score"]), pair_signs(part["accuracy"])
        agree, scale_x, scale_y = agree + (x * y).sum(), scale_x + (x**2).sum(), scale_y + (y**2).sum()
    assert value == pytest.approx(agree / np.sqrt(scale_x * scale_y), abs=1e-6)


def test_partial_tau_removes_what_the_control_explains():
    assert partial(np.array([0.5]), np.array([0.5]), np.array([1.0 - 1e-12]))[0] == pytest.approx(0, abs=1e-3)
    assert partial(np.array([0.5]), np.array([0.0]), np.array([0.0]))[0] == 0.5


def test_intervals_cover_and_shrink():
    """About 95 of 100 intervals hold the true tau, here 0 for independent values."""
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(60):
        x, y = rng.normal(size=(2, 40))
        interval = Interval.of(taus(pair_signs(x), pair_signs(y), resample_counts(40, 300, trial)))
        held += interval.low <= 0 <= interval.high
    assert held >= 52
    assert architectures_needed(Interval(0.5, 0.4, 0.6), 100, 0.05) == 400


def test_table_reports_baselines_and_paired_differences(data):
    table = correlation_table(data, ["score", "ntk", "params"], "accuracy", cells="cell", resamples=200)
    row = table.set_index("proxy").loc["score"]
    assert row["n"] == 40
    assert row["low"] < row["tau"] < row["high"]
    tau = lambda a, b: stats.kendalltau(data[a], data[b]).statistic  # noqa: E731
    assert row["over_control"] == pytest.approx(tau("score", "accuracy") - tau("params", "accuracy"), abs=1e-6)
    assert row["over_baseline"] == pytest.approx(tau("score", "accuracy") - tau("ntk", "accuracy"), abs=1e-6)
    xy, xz, yz = tau("score", "accuracy"), tau("score", "params"), tau("accuracy", "params")
    assert row["partial"] == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)), abs=1e-5)
    assert np.isnan(table.set_index("proxy").loc["params", "partial"])
    assert list(table["tau"]) == sorted(table["tau"], reverse=True)


def test_failed_candidates_are_left_out(data):
    data.loc[:4, "score"] = np.nan
    assert correlation_table(data, ["score"], "accuracy", resamples=10)["n"].item() == 35


def test_ceiling_falls_with_label_noise():
    accuracy = np.random.default_rng(0).normal(70, 2, 80)
    clean, noisy = noise_ceiling(accuracy, 0.05, draws=20), noise_ceiling(accuracy, 1.0, draws=20)
    assert clean.value > 0.95 > noisy.value > 0.5
    assert noise_ceiling(accuracy, 5.0).value == 0


def test_seed_noise_pools_repeated_trainings():
    values, groups = np.array([1.0, 3.0, 5.0, 5.0, 9.0]), np.array(["a", "a", "b", "b", "c"])
    assert seed_noise(values, groups) == pytest.approx(1.0)
    assert np.isnan(seed_noise(values, np.arange(5)))


def test_small_statistics():
    score, accuracy = np.array([3.0, 2, 1, 0]), np.array([10.0, 40, 30, 20])
    assert top_recall(score, accuracy, 0.5) == 0.5
    assert regret(score, accuracy, 0.25) == 30
    assert list(size_bins(np.arange(10.0), 5)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert pearson_log(np.exp(accuracy), accuracy) == pytest.approx(1)


def test_bad_input_is_refused(data):
    with pytest.raises(InputError, match="column: got 'nothing'"):
        correlation_table(data, ["nothing"], "accuracy")
    with pytest.raises(InputError, match="at least 3"):
        pair_signs(np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="1 not finite"):
        pair_signs(np.array([1.0, 2.0, np.nan]))
