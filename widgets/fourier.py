"""The Fourier panel: what a mapping of the input does to images, kernel, network and scores, as its sliders move."""

from __future__ import annotations

import base64
import html
from typing import Any

import ipywidgets as w
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.errors import bad_value
from vintk_kit.plots.scores import tidy_number
from vintk_kit.plots.template import empty

from .figures import LiveFigure
from .jobs import LatestJob
from .lab import FourierLab, FourierResult
from .panel import describe_error, message_html, short_time, style
from .settings import FourierSettings
from .tuner import FourierTuner


class FourierPanel:
    """See `fourier_panel`.

    Attributes:
        settings: The plain object that the sliders edit.
        result: The newest `FourierResult`, or None before the first.
    """

    def __init__(self, lab: FourierLab, settings: FourierSettings, *, live: bool) -> None:
        self.lab, self.settings, self.live = lab, settings, live
        settings.features()  # refuse impossible settings here, not in a worker thread
        self.result: FourierResult | None = None
        self._view: w.Widget | None = None
        self._job = LatestJob(lab, self._show, self._fail, self._begin, self._tell)

    @property
    def features(self) -> Any:
        """The `FourierFeatures` of the present settings."""
        return self.settings.features()

    @property
    def frame(self) -> pd.DataFrame:
        """Statistics of the kernel, plain and mapped."""
        return self._latest().table

    @property
    def scores(self) -> pd.DataFrame:
        """One row per architecture: label, key, -log10 condition number plain and mapped."""
        return self._latest().scores

    def figure(self) -> go.Figure:
        """The static figure for the present settings."""
        return self._latest().figure

    def _latest(self) -> FourierResult:
        if self.result is None or self._shown != vars(self.settings):
            self._keep(self.settings, self.lab(self.settings))
        return self.result

    def _keep(self, settings: FourierSettings, result: FourierResult) -> None:
        self.result, self._shown = result, dict(vars(settings))

    # Widgets -----------------------------------------------------------------------------------------------------

    @property
    def view(self) -> w.Widget:
        """The panel as one widget, built once."""
        if self._view is None:
            self._build()
        return self._view

    def _build(self) -> None:
        self.tuner = FourierTuner(self.settings)
        controls = self.tuner.children()
        self.tuner.wait()
        self.tuner.on_change(self._submit)
        self._status, self._message = w.HTML(), w.HTML()
        self._status.add_class("vk-status")
        self._message.add_class("vk-message")
        self._picture = w.HTML(layout=w.Layout(height="104px", overflow="hidden"))
        self._picture.add_class("vk-picture")
        self._numbers = w.HTML(layout=w.Layout(min_height="176px"))
        self._numbers.add_class("vk-numbers")
        self.live_figure = LiveFigure(empty("Preparing the first kernels…", height=560))
        told = w.HBox([self._status, self._message, self.tuner.message],
                      layout=w.Layout(flex_flow="row wrap", align_items="center"))  # fmt: skip
        self._view = w.VBox([style(), *controls, told, self._picture, self.live_figure.view, self._numbers])
        self._view.add_class("vk-panel")
        self._say("Preparing images and networks…")
        if self.result is None:
            self.live_figure.when_sent(lambda: self._submit(self.settings))
        else:
            self._show(self.settings, self.result)

    def _submit(self, settings: FourierSettings) -> None:
        self._job.submit(FourierSettings(**vars(settings)))

    def _say(self, words: str) -> None:
        self._status.value = f'<span role="status">{words}</span>'

    def _begin(self, settings: FourierSettings) -> None:
        if self._view is not None and self.result is not None:
            self._say("Computing…")

    def _tell(self, words: str) -> None:
        if self._view is not None:
            self._say(f"Computing: {words}…")

    def _show(self, settings: FourierSettings, result: FourierResult) -> None:
        self._keep(settings, result)
        if self._view is None:
            return
        self.tuner.ready(self.lab.image_size)
        self.live_figure.show(result.figure)
        picture = base64.b64encode(result.picture).decode()
        label = f"probe image, then its mapped channels: {html.escape(settings.kind)}"
        look = "image-rendering:pixelated;max-width:100%"
        self._picture.value = f'<img alt="{label}" style="{look}" src="data:image/png;base64,{picture}">'
        self._numbers.value = statistics_html(result.table, result.groups) + scores_html(result.scores)
        self._message.value = ""
        self._say(f"Computed in {short_time(result.seconds)}")

    def _fail(self, settings: FourierSettings, error: Exception) -> None:
        if self._view is None:
            return
        self._say("Not computed")
        self._message.value = message_html(describe_error(error))
        if self.lab.prepared:
            self.tuner.ready(self.lab.image_size)
        if self.result is None:
            self.live_figure.show(empty("Nothing to show", height=560))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view if self.live else self.figure())


def statistics_html(table: pd.DataFrame, groups: str) -> str:
    """The statistics of the kernel of these layer groups as an HTML table."""
    lines = [
        f"<tr><td>{name}</td><td>{tidy_number(row['plain'])}</td><td>{tidy_number(row['mapped'])}</td></tr>"
        for name, row in table.iterrows()
    ]
    *first, last = groups.replace("_", " ").split("+")
    parts = f"{', '.join(first)} and {last}" if first else last
    head = f"<tr><th>kernel of A, {parts}</th><th>plain</th><th>mapped</th></tr>"
    return f'<table class="vk-plain">{head}{"".join(lines)}</table>'


def scores_html(scores: pd.DataFrame) -> str:
    """Which letter is which architecture."""
    names = " · ".join(f"{row.architecture} = {html.escape(row.key)}" for row in scores.itertuples())
    return f'<div class="vk-note">{names}</div>'


def fourier_panel(
    space: str = "microvit-32", *, data: str = "photopatch", batch_size: int = 8, image_size: int | None = None,
    architectures: Any = None, count: int = 4, features: FourierSettings | None = None, seed: int = 0,
    live: bool = True,
) -> FourierPanel:  # fmt: skip
    """Tune Fourier features and see, on release of a slider, images, spectra, eigenvalues, responses and scores.

    Args:
        space: Spec of the search space.
        data: Data set of the probe batch.
        batch_size: N, images of the probe batch, from 2 to 64.
        image_size: Side of the images; the space's own by default.
        architectures: `Architecture`s to score; by default `count` samples.
        count: Number of sampled architectures.
        features: Initial settings, edited in place; also a `FourierFeatures`, whose values are copied.
        seed: Of probe batch, samples and initial weights.
        live: Widgets, or the static figure.

    Returns:
        A panel: `panel.features` is the `FourierFeatures` for the next cell, `panel.frame` the statistics of the
        kernel, `panel.scores` the scores.

    Raises:
        InputError: Impossible settings. An unknown space or data set is a message in the panel, which appears before
            either is loaded; with `live=False` it is raised.
    """
    if not 2 <= batch_size <= 64:
        raise bad_value("batch_size", batch_size, "2 to 64 images")
    if features is not None and not isinstance(features, FourierSettings):
        known = FourierSettings().__dict__
        features = FourierSettings(**{name: getattr(features, name) for name in known})
    lab = FourierLab(
        space, data=data, batch_size=batch_size, image_size=image_size, architectures=architectures, count=count,
        seed=seed,
    )  # fmt: skip
    if not live:
        lab.prepare()
    return FourierPanel(lab, features or FourierSettings(), live=live)
