"""Run panels: live equals static, clicks fill the plain object, wrong input is a message and never a traceback."""

import asyncio
import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from vintk_kit.errors import InputError
from vintk_kit.widgets import (
    LiveFigure,
    candidates_panel,
    contest_panel,
    correlation_panel,
    search_panel,
    training_panel,
)
from vintk_kit.widgets.search import pareto_keys
from vintk_kit.widgets.table import SortableTable


def row(i):
    choices = {"depth": i, "width": 64}
    text = json.dumps({"space": "microvit-32", "choices": choices})
    return {"key": f"k{i}", "architecture": text, "params": 1e5 * (i % 7 + 1), "score": float((i * 5) % 11)}


def rows(n):
    return lambda stop: (row(i) for i in range(n))


def plain(figure):
    """A figure's content without what only widgets carry."""
    content = go.Figure(figure).to_dict()
    for trace in content["data"]:
        trace.pop("uid", None)
        trace.pop("selectedpoints", None)
    for name in ("dragmode", "autosize"):
        content["layout"].pop(name, None)
    return json.loads(json.dumps(content, default=lambda value: np.asarray(value).tolist()))


def finish(panel):
    async def go_on():
        panel.start()
        return await panel.done()

    return asyncio.run(go_on())


@pytest.fixture
def fake_architectures(monkeypatch):
    """`Selection.pick` parses JSON with the library; the rows here belong to no real space."""
    from vintk_kit.widgets.selection import Selection

    def pick(self, line):
        self.architecture, self.row = json.loads(line["architecture"]), dict(line)

    monkeypatch.setattr(Selection, "pick", pick)


def test_a_live_figure_follows_static_ones_and_keeps_the_readers_zoom():
    first = go.Figure().add_scatter(x=np.arange(3.0), y=np.arange(3.0)).update_layout(title_text="a")
    live = LiveFigure(first)
    second = go.Figure().add_scatter(x=np.arange(5.0), y=np.ones(5)).add_bar(y=[1.0]).update_layout(title_text="b")
    second.add_annotation(text="note")
    for figure in (second, first, second):
        live.show(figure)
        assert plain(live.widget) == plain(figure)
        handed_out = live.widget.get_state()  # what a reloaded page asks for
        assert [trace["type"] for trace in handed_out["_widget_data"]] == [trace.type for trace in figure.data]
        assert handed_out["_widget_layout"]["title"]["text"] == figure.layout.title.text
    live.widget.layout.dragmode = "select"
    live.show(first)
    assert live.widget.layout.dragmode == "select"


@pytest.mark.parametrize("build", [candidates_panel, search_panel])
def test_live_and_headless_panels_end_with_the_same_frame_and_figure(build, fake_architectures):
    async def run_live():
        panel = build(rows(20), total=20, live=True)
        assert "vk-panel" in panel.view._dom_classes
        frame = await panel.done()
        return panel, frame

    live, frame = asyncio.run(run_live())
    headless = build(rows(20), total=20, live=False)
    pd.testing.assert_frame_equal(frame, finish(headless))
    assert plain(live.live_figure.widget) == plain(headless.figure())
    assert "20 of 20" in live._status.value
    assert live._stop_button.disabled
    assert not live._run_button.disabled


def test_a_click_selects_what_the_next_cell_uses(fake_architectures):
    panel = candidates_panel(pd.DataFrame([row(i) for i in range(6)]))
    _ = panel.view
    panel._clicked(0, 4)
    assert panel.selection.key == "k4"
    assert panel.selection.require()["choices"]["depth"] == 4
    assert "k4" in panel._picked.value
    assert list(panel.live_figure.widget.data[2].x) == [5e5]
    panel._table.list.value = "k2"
    assert panel.selection.key == "k2"


def test_a_brush_filters_the_table_and_clearing_shows_all(fake_architectures):
    panel = candidates_panel(pd.DataFrame([row(i) for i in range(6)]))
    _ = panel.view
    panel._brushed(0, [1, 3])
    assert [key for _, key in panel._table.list.options] == ["k1", "k3"]
    assert panel.selection.keys == ("k1", "k3")
    panel._clear.click()
    assert len(panel._table.list.options) == 6


def test_the_axis_menu_changes_the_figure():
    frame = pd.DataFrame([row(i) | {"depth": i} for i in range(6)])
    panel = candidates_panel(frame, y="score")
    _ = panel.view
    panel._axis.value = "depth"
    assert list(panel.live_figure.widget.data[0].y) == list(range(6))


def test_nothing_selected_and_unknown_columns_are_explained():
    panel = candidates_panel(pd.DataFrame([row(0)]))
    with pytest.raises(InputError, match="click a point"):
        panel.selection.require()
    with pytest.raises(InputError, match="column: got 'size'"):
        candidates_panel(pd.DataFrame([row(0)]), x="size")
    with pytest.raises(InputError, match="key: got 'k9'"):
        panel.pick("k9")


def test_tables_sort_by_their_head_and_pick_by_line():
    picked = []
    table = SortableTable(["score", "params"], picked.append)
    table.show(pd.DataFrame([row(i) for i in range(4)]))
    head = table._head.children[0]
    head.click()
    assert [key for _, key in table.list.options] == ["k2", "k1", "k3", "k0"]
    head.click()
    assert [key for _, key in table.list.options] == ["k0", "k3", "k1", "k2"]
    assert head.description.endswith("↑")
    assert picked == []
    table.list.value = "k3"
    table.step(1)
    table.step(9)
    table.step(-1)
    assert picked == ["k3", "k1", "k2", "k1"]


def test_the_front_is_what_no_other_architecture_beats():
    frame = pd.DataFrame([row(i) for i in range(40)])
    keys = set(pareto_keys(frame, "score", "params"))
    for line in frame.itertuples():
        beaten = ((frame["score"] >= line.score) & (frame["params"] <= line.params)
                  & ((frame["score"] > line.score) | (frame["params"] < line.params))).any()  # fmt: skip
        if beaten:
            assert line.key not in keys
    assert {(r.score, r.params) for r in frame.itertuples() if r.key in keys} == {
        (a.score, a.params)
        for a in frame.itertuples()
        if not (((frame["score"] >= a.score) & (frame["params"] <= a.params)
                 & ((frame["score"] > a.score) | (frame["params"] < a.params))).any())
    }  # fmt: skip


def benchmark(n=30):
    return pd.DataFrame(
        {"key": [f"k{i}" for i in range(n)], "accuracy": np.arange(n) / n, "params": np.arange(n)[::-1] * 1e3}
    )


def scores(n=30):
    return lambda stop: (
        {"key": f"k{i}", "proxy": proxy, "score": sign * i, "error": None}
        for i in range(n) for proxy, sign in (("vintk", 1.0), ("ntk", -1.0))
    )  # fmt: skip


def test_the_correlation_panel_reports_tau_per_proxy_and_for_the_baseline():
    panel = correlation_panel(benchmark(), scores(), live=False, total=30)
    finish(panel)
    table = panel.table.set_index("proxy")
    assert table["tau"].to_dict() == {"vintk": 1.0, "ntk": -1.0, "params": -1.0}
    assert (table["n"] == 30).all()
    assert panel.run.completed == 30


def test_the_live_correlation_panel_follows_and_switches_its_scatter():
    async def go_on():
        panel = correlation_panel(benchmark(), scores(), total=30)
        _ = panel.view
        await panel.done()
        panel._pick.value = "ntk"
        return panel

    panel = asyncio.run(go_on())
    assert panel._pick.options == ("vintk", "ntk")
    assert panel.live_figure.widget.data[0].x[-1] == -29
    assert plain(panel.live_figure.widget) == plain(panel.figure())
    assert "+1.000" in panel._numbers.value


def test_a_baseline_that_is_also_scored_counts_once_and_the_menu_names_what_is_shown():
    def arriving(stop):
        for i in range(8):
            for proxy in ("ntk", "params"):
                yield {"key": f"k{i}", "proxy": proxy, "score": float(i), "error": None}

    async def go_on():
        panel = correlation_panel(benchmark(8), arriving, total=8)
        assert panel.view
        assert "once four architectures" in panel._numbers.value
        await panel.done()
        return panel

    panel = asyncio.run(go_on())
    assert list(panel.table["proxy"]) == ["ntk", "params"]
    assert panel._pick.value == "ntk"
    names = [trace.name for trace in panel.figure().data if trace.showlegend is None]
    assert names == ["ntk", "params"]


def test_the_contest_panel_follows_its_entrants():
    def trained(stop):
        for name in ("winner", "largest"):
            for epoch in (1, 2):
                yield {"entrant": name, "epoch": epoch, "train_loss": 1.0, "val_accuracy": epoch / 4}

    async def go_on():
        panel = contest_panel(trained, total=4)
        assert panel.view
        assert not panel.live_figure.widget.data
        assert "No epoch" in panel._line.value
        await panel.done()
        return panel

    panel = asyncio.run(go_on())
    assert plain(panel.live_figure.widget) == plain(panel.figure())
    assert [trace.name for trace in panel.live_figure.widget.data] == ["winner", "largest"]
    assert panel._line.value.startswith("largest: epoch 2")
    assert panel.table["val_accuracy"].tolist() == [0.5, 0.5]


def epochs(n, best):
    return lambda stop: (
        {"epoch": e, "train_loss": 1 / e, "val_accuracy": min(e, best) / 10, "lr": 0.1, "images_per_second": 900.0}
        for e in range(1, n + 1)
    )


def test_training_stops_early_and_shows_the_best_epoch():
    async def go_on():
        panel = training_panel(epochs(50, 3), total=50, patience=2)
        _ = panel.view
        return panel, await panel.done()

    panel, frame = asyncio.run(go_on())
    assert frame["epoch"].max() == 5
    assert "best 0.3 at epoch 3" in panel._line.value
    assert "900 images/s" in panel._line.value
    with pytest.raises(InputError, match="patience"):
        training_panel(epochs(1, 1), patience=0)


def test_an_error_is_a_message_in_the_panel_with_markup_escaped():
    def broken(stop):
        yield row(0)
        raise InputError("name: got <b>; allowed: a")

    async def go_on():
        panel = search_panel(broken)
        _ = panel.view
        with pytest.raises(InputError):
            await panel.done()
        return panel

    panel = asyncio.run(go_on())
    assert "got &lt;b&gt;; allowed: a" in panel._message.value
    assert "Traceback" not in panel._message.value
    assert "Failed" in panel._status.value
    assert len(panel.live_figure.widget.data[0].x) == 1


@pytest.mark.parametrize(("build", "work"), [(search_panel, rows), (training_panel, lambda n: epochs(n, 2))])
def test_an_empty_panel_invents_no_numbers_and_a_filled_one_shows_them(build, work):
    panel = build(work(3), live=False)
    assert all(axis.showticklabels is False for axis in panel.figure().select_xaxes())
    finish(panel)
    assert all(axis.showticklabels is None for axis in panel.figure().select_xaxes())
