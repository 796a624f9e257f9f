"""The control of Fourier features."""

from __future__ import annotations

from typing import Any

import ipywidgets as w

from .controls import LABEL, Control
from .settings import FourierSettings

_USES = {
    "channel": ("sigma", "num_frequencies", "seed"),
    "fold": ("sigma", "num_frequencies", "seed"),
    "modulate": ("low", "seed"),
    "lowpass": ("low",),
    "highpass": ("low",),
    "bandpass": ("low", "high"),
}


class FourierTuner(Control):
    """Sliders for Fourier features: only those that the kind uses are enabled.

    `tuner.value` is a `FourierSettings`, `tuner.value.features()` the frozen `FourierFeatures`.

    Args:
        settings: Initial settings.
        image_size: Side of the images: the band ends at half of it.
        live: Widgets, or only the object.
    """

    def __init__(
        self, settings: FourierSettings | None = None, *, image_size: int = 32, live: bool = True
    ) -> None:  # fmt: skip
        super().__init__(settings or FourierSettings(), live=live)
        self._nyquist = image_size / 2
        self._quiet = False

    def children(self) -> list[w.Widget]:
        from vintk_kit.fourier import KINDS

        now, slider = self.value, {"continuous_update": False, "style": LABEL, "layout": {"width": "370px"}}
        top = self._nyquist
        self.fields: dict[str, Any] = {
            "kind": w.Dropdown(options=KINDS, value=now.kind, description="kind", style=LABEL,
                               layout={"width": "370px"}),
            "sigma": w.FloatLogSlider(now.sigma, base=10, min=-1, max=1.5, step=0.1, description="sigma", **slider),
            "low": w.FloatSlider(now.low, min=0, max=top, step=0.5, description="low (cycles)", **slider),
            "high": w.FloatSlider(top if now.high is None else now.high, min=0.5, max=top, step=0.5,
                                  description="high (cycles)", **slider),
            "num_frequencies": w.IntSlider(now.num_frequencies, 1, 16, description="frequencies", **slider),
            "seed": w.IntSlider(now.seed, 0, 20, description="seed", **slider),
        }  # fmt: skip
        for name, field in self.fields.items():
            field.add_class(f"vk-{name.replace('_', '-')}")
            field.observe(lambda _: self._changed(), "value")
        self._enable(now.kind)
        return [w.HBox(list(self.fields.values()), layout={"flex_flow": "row wrap"})]

    def wait(self) -> None:
        """Disables every slider until `ready`."""
        for field in self.fields.values():
            field.disabled = True

    def ready(self, image_size: int) -> None:
        """Enables what the kind uses, with bands up to half the side of the images."""
        top, unlimited = image_size / 2, self.value.high is None
        if top != self._nyquist:
            self._nyquist, self._quiet = top, True
            for name in ("low", "high"):
                self.fields[name].max = top
            self.fields["low"].value = min(self.value.low, top)
            self.fields["high"].value = top if unlimited else min(self.value.high, top)
            self._quiet = False
        self._enable(self.value.kind)

    def _changed(self) -> None:
        if not self._quiet:
            self._apply(self._read)

    def _read(self) -> None:
        """Takes every field, so that what the sliders show and what the object holds never drift apart."""
        shown = {name: field.value for name, field in self.fields.items()}
        if shown["high"] >= self._nyquist:
            shown["high"] = None  # the upper end of the slider: no limit
        self._enable(shown["kind"])
        trial = FourierSettings(**shown)
        trial.features()
        vars(self.value).update(shown)

    def _enable(self, kind: str) -> None:
        used = _USES.get(kind.partition("-")[0], ())
        for name, field in self.fields.items():
            field.disabled = name != "kind" and name not in used
