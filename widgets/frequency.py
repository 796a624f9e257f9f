"""The lecturer's panel: learning curves per frequency, and a signal fitted through Fourier features."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import ipywidgets as w
import plotly.graph_objects as go

from vintk_kit import frequency_bias as fb
from vintk_kit.plots import frequency as draw
from vintk_kit.plots.template import HEIGHT, empty

from .figures import LiveFigure
from .jobs import LatestJob
from .panel import describe_error, message_html, style


@dataclass
class FrequencySettings:
    """What the panel edits; the next cell may read it.

    Attributes:
        highest: Highest frequency k of the target, whose others are its halves.
        width: Units per hidden layer.
        depth: Hidden layers.
        learning_rate: Of gradient descent.
        steps: Gradient steps.
        sigma: Scale of the Fourier features of the fitted signal.
    """

    highest: int = 8
    width: int = 512
    depth: int = 1
    learning_rate: float = 0.4
    steps: int = 400
    sigma: float = 2.0

    @property
    def frequencies(self) -> tuple[int, ...]:
        """1, 2, 4, ... up to the highest frequency, and that one."""
        powers = [2**i for i in range(6) if 2**i < self.highest]
        return (*powers, self.highest)


def _figures(settings: FrequencySettings) -> tuple[go.Figure, go.Figure]:
    curves = fb.learning_curves(
        settings.frequencies, width=settings.width, depth=settings.depth, steps=settings.steps,
        learning_rate=settings.learning_rate, records=80,
    )  # fmt: skip
    return draw.curves_figure(curves), draw.signal_figure(fb.signal_regression((0.1, settings.sigma, 32.0)))


class FrequencyPanel:
    """Sliders for frequency, width, depth, learning rate and sigma beside the two figures they change.

    A slider's release starts the training in a worker thread; only the newest settings count. With `live=False`
    the panel is its two static figures.

    Attributes:
        settings: The plain object that the sliders edit.
    """

    def __init__(self, settings: FrequencySettings, *, live: bool = True) -> None:
        self.settings, self.live = settings, live
        self._view: w.Widget | None = None
        self._drawn = False
        self._job = LatestJob(_figures, self._show, self._fail, self._begin)

    def figures(self) -> tuple[go.Figure, go.Figure]:
        """Learning curves and fitted signals for the present settings."""
        return _figures(self.settings)

    @property
    def view(self) -> w.Widget:
        """The panel as one widget, built once."""
        if self._view is None:
            self._build()
        return self._view

    def _build(self) -> None:
        options = {"continuous_update": False, "style": {"description_width": "130px"}, "layout": {"width": "400px"}}
        now = self.settings
        self.controls: dict[str, Any] = {
            "highest": w.IntSlider(now.highest, 2, 16, description="highest frequency", **options),
            "width": w.SelectionSlider(
                options=sorted({64, 256, 512, 1024, 2048, now.width}), value=now.width, description="width", **options
            ),
            "depth": w.IntSlider(now.depth, 1, 3, description="depth", **options),
            "learning_rate": w.FloatSlider(now.learning_rate, min=0.05, max=1.0, step=0.05, description="learning rate",
                                           **options),
            "sigma": w.FloatLogSlider(now.sigma, base=2, min=-2, max=5, step=0.5, description="σ of the features",
                                      readout_format=".2f", **options),
        }  # fmt: skip
        for name, control in self.controls.items():
            control.add_class(f"vk-{name.replace('_', '-')}")
            control.observe(lambda change, name=name: self._changed(name, change["new"]), "value")
        self._status, self._message = w.HTML(), w.HTML()
        self._status.add_class("vk-status")
        self._curves, self._signal = (LiveFigure(empty(text, height=HEIGHT)) for text in
                                      ("Training the first networks…", "Fitting the signal…"))  # fmt: skip
        sliders = w.HBox(list(self.controls.values()), layout=w.Layout(flex_flow="row wrap"))
        self._view = w.VBox([style(), sliders, self._status, self._message, self._curves.view, self._signal.view])
        self._view.add_class("vk-panel")
        self._status.value = "Training the first networks…"
        self._signal.when_sent(self._submit)

    def _changed(self, name: str, value: Any) -> None:
        setattr(self.settings, name, value)
        self._submit()

    def _submit(self) -> None:
        self._job.submit(FrequencySettings(**asdict(self.settings)))

    def _begin(self, settings: FrequencySettings) -> None:
        self._status.value = f"Training {settings.width} units for {settings.steps} steps…"

    def _show(self, settings: FrequencySettings, figures: tuple[go.Figure, go.Figure]) -> None:
        for live, figure in zip((self._curves, self._signal), figures, strict=True):
            live.show(figure)
        self._drawn = True
        self._message.value = ""
        self._status.value = f"Trained on k = {', '.join(map(str, settings.frequencies))}"

    def _fail(self, settings: FrequencySettings, error: Exception) -> None:
        self._status.value = "Not trained"
        if not self._drawn:
            for live in (self._curves, self._signal):
                live.show(empty("Nothing to show"))
        self._message.value = message_html(describe_error(error))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if self.live:
            display(self.view)
        else:
            for figure in self.figures():
                display(figure)


def frequency_panel(*, live: bool = True, **settings: Any) -> FrequencyPanel:
    """Opens the panel of the frequency-bias lesson.

    Args:
        live: Widgets; False shows the static figures.
        **settings: Initial values of `FrequencySettings`.
    """
    return FrequencyPanel(FrequencySettings(**settings), live=live)
