"""Correlation figures show what the tables say."""

import pandas as pd

from vintk_kit.plots.correlation import interval_figure, short, zoo_figure

TABLE = pd.DataFrame(
    {
        "benchmark": ["a", "a", "b"], "proxy": ["ntk", "params", "ntk"], "tau": [0.2, 0.5, 0.3], "low": [0.1, 0.4, 0.1],
        "high": [0.3, 0.6, 0.5], "partial": [0.1, None, 0.2], "partial_low": [0.0, None, 0.1],
        "partial_high": [0.2, None, 0.3], "ceiling": [0.7, 0.7, 0.7],
    }
)  # fmt: skip


def test_intervals_are_drawn_from_low_to_high():
    figure = interval_figure(TABLE[TABLE["benchmark"] == "a"])
    tau = figure.data[0]
    assert list(tau.x) == [0.2, 0.5]
    assert [round(v, 6) for v in tau.error_x.arrayminus] == [0.1, 0.1]
    assert {note.text for note in figure.layout.annotations} == {"params", "label noise"}


def test_heat_map_leaves_absent_pairs_empty():
    figure = zoo_figure(TABLE)
    cells = {(y, x): t for y, row in zip(figure.data[0].y, figure.data[0].text, strict=True)
             for x, t in zip(figure.data[0].x, row, strict=True)}  # fmt: skip
    assert cells["params", "b"] == ""
    assert cells["ntk", "b"].startswith("+0.30")


def test_long_specs_are_cut_in_the_middle():
    spec = "vintk(kind='channel-positional', low=8, num_frequencies=64, sigma=4.0, statistic='effective_rank')"
    assert len(short(spec)) == 52
