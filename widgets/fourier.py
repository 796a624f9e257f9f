"""The Fourier panel: what a mapping of the input does to images, kernel, network and scores, as its sliders move."""

from __future__ import annotations

import base64
import html
import math
import time
from dataclasses import dataclass
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.errors import bad_value
from vintk_kit.plots.kernels import eigenvalue_curves, kernel_figure, montage, radial_power
from vintk_kit.plots.scores import tidy_number

from .controls import FourierTuner
from .figures import LiveFigure
from .jobs import LatestJob
from .panel import describe_error, message_html, style
from .settings import FourierSettings

GROUPS = "attention+mlp"  # patch embedding and head dominate the whole kernel and hide what the blocks do


@dataclass
class FourierResult:
    """What one setting gives.

    Attributes:
        figure: Spectra, eigenvalues, responses, scores.
        picture: PNG of the probe image and its mapped channels.
        table: Condition number and other statistics, plain and mapped.
        scores: -log10 condition number per architecture, plain and mapped.
        seconds: Time of the computation.
    """

    figure: go.Figure
    picture: bytes
    table: pd.DataFrame
    scores: pd.DataFrame
    seconds: float


class FourierLab:
    """Computes a `FourierResult` per setting; what does not depend on the setting is computed once.

    Args:
        space: Spec of the space.
        data: Name of the data set the probe batch comes from.
        batch_size: N, images of the probe batch.
        image_size: Side of the images; the space's own by default.
        architectures: The architectures to score; by default `count` samples.
        count: Number of sampled architectures.
        seed: Of the probe batch, the samples and the initial weights.
        groups: Layer groups of the kernel.
    """

    def __init__(
        self, space: str, *, data: str, batch_size: int, image_size: int | None, architectures: Any, count: int,
        seed: int, groups: str = GROUPS,
    ) -> None:  # fmt: skip
        from vintk_kit.data import probe_batch
        from vintk_kit.spaces import get_space

        self.space, self.seed, self.groups = get_space(space), seed, groups
        self.image_size = image_size or self.space.image_size
        self.images = probe_batch(data, n=batch_size, image_size=self.image_size, seed=seed).images
        rng = np.random.default_rng([seed, 17])
        self.architectures = list(architectures or (self.space.sample(rng) for _ in range(count)))
        self._supernets: dict[int, Any] = {}
        self._plain: list | None = None

    def __call__(self, settings: FourierSettings) -> FourierResult:
        began = time.monotonic()
        features = settings.features()
        mapped = features(self.images)
        plain_kernels, mapped_kernels = self._plain_kernels(), self._kernels(mapped)
        kernels = {"plain": plain_kernels[0], "mapped": mapped_kernels[0]}
        scores = pd.DataFrame({
            "architecture": [chr(ord("A") + index) for index in range(len(self.architectures))],
            "key": [architecture.key for architecture in self.architectures],
            "plain": [_score(kernel) for kernel in plain_kernels],
            "mapped": [_score(kernel) for kernel in mapped_kernels],
        })  # fmt: skip
        before, after = self.images.numpy(), mapped.numpy()
        figure = kernel_figure(
            {"plain": radial_power(before), "mapped": radial_power(after)},
            eigenvalue_curves(kernels), self._response(), scores, title=_caption(settings),
        )  # fmt: skip
        table = pd.DataFrame({name: _statistics(kernel) for name, kernel in kernels.items()})
        return FourierResult(figure, montage(before, after), table, scores, time.monotonic() - began)

    def _network(self, architecture: Any, channels: int) -> Any:
        if channels not in self._supernets:
            self._supernets[channels] = self.space.supernet(self.seed, in_channels=channels, image_size=self.image_size)
        return self.space.build(
            architecture, in_channels=channels, image_size=self.image_size, weights=self._supernets[channels]
        )

    def _kernels(self, images: Any) -> list[np.ndarray]:
        from vintk_kit.ntk import tangent_kernel

        networks = (self._network(architecture, images.shape[1]) for architecture in self.architectures)
        return [tangent_kernel(network, images).group(self.groups).numpy() for network in networks]

    def _plain_kernels(self) -> list[np.ndarray]:
        if self._plain is None:
            self._plain = self._kernels(self.images)
            self._answer = self._measure_response()
        return self._plain

    def _response(self) -> pd.DataFrame:
        return self._answer

    def _measure_response(self) -> pd.DataFrame:
        from vintk_kit.ntk.response import frequency_response

        frequencies = [1, 2, 4, 6, 8, 12]
        frequencies = [k for k in frequencies if k <= self.image_size // 2]
        return frequency_response(self._network(self.architectures[0], self.images.shape[1]), self.images, frequencies)


def _score(kernel: np.ndarray) -> float:
    from vintk_kit.spectrum import condition_number

    value = condition_number(kernel)
    return -math.log10(value) if math.isfinite(value) else math.nan


def _statistics(kernel: np.ndarray) -> dict[str, float]:
    from vintk_kit.spectrum import STATISTICS

    names = ("condition_number", "centred_condition_number", "log_det", "effective_rank", "max_eigenvalue")
    return {name.replace("_", " "): STATISTICS[name][0](kernel) for name in names}


def _caption(settings: FourierSettings) -> str:
    upper = "" if settings.high is None else f" to {settings.high:g}"
    details = {
        "identity": "", "lowpass": f", below {settings.low:g} cycles", "highpass": f", from {settings.low:g} cycles",
        "bandpass": f", {settings.low:g}{upper or ' and more'} cycles",
    }  # fmt: skip
    family = settings.kind.partition("-")[0]
    default = f", {settings.low:g} cycles" if family == "modulate" else f", σ {settings.sigma:.3g}"
    return f"Plain input against {settings.kind}{details.get(settings.kind, default)}"


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
        self._job = LatestJob(lab, self._show, self._fail, self._begin)

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
        self.tuner = FourierTuner(self.settings, image_size=self.lab.image_size)
        self.tuner.on_change(lambda settings: self._job.submit(FourierSettings(**vars(settings))))
        self._status, self._message = w.HTML(), w.HTML()
        self._status.add_class("vk-status")
        self._message.add_class("vk-message")
        self._picture = w.HTML(layout=w.Layout(height="104px", overflow="hidden"))
        self._picture.add_class("vk-picture")
        self._numbers = w.HTML(layout=w.Layout(min_height="130px"))
        self._numbers.add_class("vk-numbers")
        result = self._latest()
        self.live_figure = LiveFigure(result.figure)
        self._view = w.VBox([
            style(), *self.tuner.children(), self._status, self._message, self.tuner.message, self._picture,
            self.live_figure.widget, self._numbers,
        ])  # fmt: skip
        self._view.add_class("vk-panel")
        self._show(self.settings, result)

    def _begin(self, settings: FourierSettings) -> None:
        if self._view is not None:
            self._status.value = '<span role="status">Computing…</span>'

    def _show(self, settings: FourierSettings, result: FourierResult) -> None:
        self._keep(settings, result)
        if self._view is None:
            return
        self.live_figure.show(result.figure)
        picture = base64.b64encode(result.picture).decode()
        label = f"probe image, then its mapped channels: {html.escape(settings.kind)}"
        self._picture.value = f'<img alt="{label}" style="image-rendering:pixelated;max-width:100%" src="data:image/png;base64,{picture}">'
        self._numbers.value = statistics_html(result.table) + scores_html(result.scores)
        self._message.value = ""
        self._status.value = f'<span role="status">Computed in {result.seconds * 1000:.0f} ms</span>'

    def _fail(self, settings: FourierSettings, error: Exception) -> None:
        if self._view is not None:
            self._status.value = '<span role="status">Not computed</span>'
            self._message.value = message_html(describe_error(error))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view if self.live else self.figure())


def statistics_html(table: pd.DataFrame) -> str:
    """The statistics as an HTML table."""
    lines = [
        f"<tr><td>{name}</td><td>{tidy_number(row['plain'])}</td><td>{tidy_number(row['mapped'])}</td></tr>"
        for name, row in table.iterrows()
    ]
    head = f"<tr><th>kernel of A, {GROUPS.replace('+', ' and ')}</th><th>plain</th><th>mapped</th></tr>"
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
        InputError: Impossible settings, unknown space or data set.
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
    return FourierPanel(lab, features or FourierSettings(), live=live)
