"""A panel is there before its numbers: nothing is loaded or computed in the cell that shows it."""

import asyncio
import subprocess
import sys
import threading

import plotly.graph_objects as go
import pytest

import vintk_kit.data
import vintk_kit.frequency_bias
import vintk_kit.ntk
import vintk_kit.spaces
from vintk_kit.widgets import LiveFigure, figures, fourier_panel, frequency_panel

WORK = ((vintk_kit.spaces, "get_space"), (vintk_kit.data, "probe_batch"), (vintk_kit.ntk, "tangent_kernel"),
        (vintk_kit.frequency_bias, "learning_curves"))  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Names of the working functions that are called, each with its thread; they wait until the gate opens."""
    seen, gate = [], threading.Event()

    def watched(name, function):
        def call(*args, **options):
            seen.append((name, threading.current_thread()))
            assert gate.wait(60)
            return function(*args, **options)

        return call

    for module, name in WORK:
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    return seen, gate


@pytest.mark.parametrize(
    ("build", "work"),
    [
        (lambda: fourier_panel(batch_size=4, count=1), {"get_space", "probe_batch", "tangent_kernel"}),
        (lambda: frequency_panel(width=64, steps=20), {"learning_curves"}),
    ],
)
def test_a_panel_is_shown_before_anything_is_computed(calls, build, work):
    seen, gate = calls

    async def show():
        panel = build()
        assert "vk-panel" in panel.view._dom_classes
        assert "Prepar" in panel._status.value or "Train" in panel._status.value
        gate.set()
        async with asyncio.timeout(60):
            while {name for name, _ in seen} != work or not panel._job.idle:
                await asyncio.sleep(0.01)
        return panel

    asyncio.run(show())
    assert {name for name, _ in seen} == work
    assert threading.main_thread() not in {thread for _, thread in seen}


async def happened(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_figure_is_sent_when_the_page_shows_its_place_and_work_begins_once_after_it(monkeypatch):
    monkeypatch.setattr(figures, "PATIENCE", 600)  # only the page's report counts here

    async def show():
        figure, begun = LiveFigure(go.Figure()), []
        figure.when_sent(lambda: begun.append(figure.view.children))
        await asyncio.sleep(0.5)
        assert (figure.widget.comm, figure.view.children, begun) == (None, (), [])
        figure.show(go.Figure(go.Scatter(y=[1, 2])))
        figure.view._view_count = 1  # what a page reports
        await happened(lambda: begun)
        assert figure.widget.comm is not None
        assert [trace["type"] for trace in figure.widget._widget_data] == ["scatter"]  # what it will be told
        assert begun == [(figure.widget,)]
        figure.view._view_count = 2
        await asyncio.sleep(0.5)
        assert len(begun) == 1

    asyncio.run(show())


def test_a_figure_shown_alone_is_sent_at_once():
    async def show():
        figure = LiveFigure(go.Figure(go.Scatter(y=[1, 2])))
        assert figure.widget.comm is None
        bundle = figure.widget._repr_mimebundle_()
        assert figure.widget.model_id in str(bundle)
        assert figure.widget._widget_data[0]["type"] == "scatter"

    asyncio.run(show())


def test_a_figure_that_no_page_shows_starts_its_work_too():
    async def show():
        figure, begun = LiveFigure(go.Figure()), []
        figure.when_sent(lambda: begun.append(0))
        await happened(lambda: begun)

    asyncio.run(show())
    assert LiveFigure(go.Figure()).view.children  # without an event loop: at once


def test_sliders_wait_for_the_images_and_then_end_at_half_their_side():
    async def show():
        panel = fourier_panel(batch_size=2, count=1, image_size=16)
        assert panel.view
        assert all(field.disabled for field in panel.tuner.fields.values())
        async with asyncio.timeout(60):
            while panel.result is None:
                await asyncio.sleep(0.01)
        return panel

    panel = asyncio.run(show())
    fields = panel.tuner.fields
    assert (fields["low"].max, fields["high"].max) == (8, 8)
    assert {name for name, field in fields.items() if not field.disabled} == {"kind", "low", "high"}
    assert panel.settings.high is None
    assert panel.frame is panel.result.table  # the next cell waits for no second computation


def test_an_unknown_space_is_a_message_in_the_panel():
    async def show():
        panel = fourier_panel("nothing")
        assert panel.view
        async with asyncio.timeout(60):
            while not panel._message.value:
                await asyncio.sleep(0.01)
        return panel

    panel = asyncio.run(show())
    assert "search space: got &#x27;nothing&#x27;" in panel._message.value
    assert "Traceback" not in panel._message.value


def test_importing_a_panel_loads_neither_statistics_nor_grammars():
    code = """
import sys
from vintk_kit.fourier import KINDS, FourierFeatures
from vintk_kit.plots.kernels import sweep_figure
from vintk_kit.plots.scores import scatter_figure
from vintk_kit.widgets import fourier_panel, search_panel, correlation_panel
from vintk_kit.widgets.settings import FourierSettings
FourierSettings().features()
import plotly.graph_objects as go
go.FigureWidget()
heavy = "torch timm torchvision scipy sklearn skimage optuna distributed dask matplotlib rfc3987_syntax".split()
print([name for name in heavy if name in sys.modules])
import jsonschema
check = jsonschema.FormatChecker()
print(check.conforms("http://a.b/c", "iri"), check.conforms("a b", "iri"))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.split("\n")[:2] == ["[]", "True False"]
