"""Live panels for notebooks. Each edits or fills a plain object that the next cell uses; each has a headless twin.

A panel in three lines:

    from vintk_kit.widgets import callback_rows, search_panel
    panel = search_panel(callback_rows(search, "on_row", "microvit-32", candidates=60), total=60)
    panel

Every panel of a run has `start()`, `pause()`, `resume()`, `stop()`, `await panel.done()`, `frame` and `figure()`.
With `live=False` (papermill) there are no widgets: `start()` works to the end and the panel shows a static figure.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "LiveRun": "live",
    "HeadlessRun": "live",
    "make_run": "live",
    "LatestJob": "jobs",
    "callback_rows": "jobs",
    "LiveFigure": "figures",
    "SpacePicker": "controls",
    "Budget": "controls",
    "ProxyPicker": "controls",
    "FourierTuner": "tuner",
    "Selection": "selection",
    "CandidatesPanel": "candidates",
    "candidates_panel": "candidates",
    "search_panel": "search",
    "correlation_panel": "correlation",
    "training_panel": "training",
    "contest_panel": "contest",
    "fourier_panel": "fourier",
    "frequency_panel": "frequency",
    "architecture_card": "card",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
