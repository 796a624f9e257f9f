"""Controls that edit plain objects: a part of a space, a budget, a list of proxies; Fourier features: see `tuner`.

Each control has `.value`, the object it edits and the next cell uses; wrong input is a message beside the control and
leaves the object as it was. With `live=False` a control displays its object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w

from vintk_kit.errors import VintkError, bad_value
from vintk_kit.plots.scores import tidy_number

from .panel import describe_error, message_html, style
from .settings import Limits, ProxyChoice, Region

LABEL = {"description_width": "120px"}
_WIDE = {"width": "430px"}


class Control:
    """What every control shares: the object, a message line, listeners."""

    def __init__(self, value: Any, *, live: bool = True) -> None:
        self.value, self.live = value, live
        self._listeners: list[Callable[[Any], None]] = []
        self._view: w.Widget | None = None
        self.message = w.HTML()
        self.message.add_class("vk-message")

    def on_change(self, callback: Callable[[Any], None]) -> None:
        """Calls `callback(value)` after every valid change."""
        self._listeners.append(callback)

    def children(self) -> list[w.Widget]:
        """The widgets; built once."""
        raise NotImplementedError

    @property
    def view(self) -> w.Widget:
        """The control as one widget, built once."""
        if self._view is None:
            self._view = w.VBox([style(), *self.children(), self.message])
            self._view.add_class("vk-panel")
        return self._view

    def _apply(self, change: Callable[[], None]) -> None:
        """Makes a change and tells listeners, or shows why it cannot be made."""
        try:
            change()
        except (VintkError, ValueError) as error:
            self.message.value = message_html(describe_error(error))
            return
        self.message.value = ""
        for callback in self._listeners:
            callback(self.value)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view if self.live else self.value)


class SpacePicker(Control):
    """A search space and the options that remain of each field, with the number of architectures and their sizes.

    `picker.value` is a `Region`; `picker.value.search_space()` is what searches and samples take.

    Args:
        space: Spec of the space.
        live: Widgets, or only the object.
    """

    def __init__(self, space: str = "microvit-32", *, live: bool = True) -> None:
        super().__init__(Region(space).check(), live=live)
        self.table: dict[str, tuple] = dict(self.value.search_space().choices)
        self.value.options = dict(self.table)
        self.count = w.HTML(layout=w.Layout(min_height="24px"))
        self.count.add_class("vk-count")

    def children(self) -> list[w.Widget]:
        self._fields = {name: self._field(name, options) for name, options in self.table.items()}
        self._show_count()
        return [self.count, *self._fields.values()]

    def _field(self, name: str, options: tuple) -> w.Widget:
        if len(options) > 3 and all(isinstance(option, (int, float)) for option in options):
            field = w.SelectionRangeSlider(
                options=[(f"{option:g}", option) for option in options], index=(0, len(options) - 1), description=name,
                continuous_update=False, style=LABEL, layout=_WIDE,
            )  # fmt: skip
            field.observe(lambda change: self._set(name, _between(options, *change["new"])), "value")
        else:
            toggles = [w.ToggleButton(True, description=str(option), layout={"width": "auto"}) for option in options]
            for toggle in toggles:
                toggle.observe(lambda _: self._set(name, _pressed(options, toggles)), "value")
            label = w.Label(name, layout={"width": "120px", "justify_content": "flex-end"})
            field = w.HBox([label, *toggles], layout={"flex_flow": "row wrap"})
        field.add_class(f"vk-{name.replace('_', '-')}")
        return field

    def _set(self, name: str, options: tuple) -> None:
        def change() -> None:
            Region(self.value.space, {**self.value.options, name: options}).check()
            self.value.options[name] = options
            self._show_count()

        self._apply(change)

    def _show_count(self) -> None:
        low, high = self.value.params_range()
        size = self.value.size()
        count = f"{size:,}" if size < 10**7 else f"{float(size):.3g}"
        self.count.value = f"<b>{count}</b> architectures · {tidy_number(low)} to {tidy_number(high)} parameters"


def _between(options: tuple, low: Any, high: Any) -> tuple:
    return tuple(option for option in options if low <= option <= high)


def _pressed(options: tuple, toggles: list[w.ToggleButton]) -> tuple:
    return tuple(option for option, toggle in zip(options, toggles, strict=True) if toggle.value)


class Budget(Control):
    """How many candidates, and how large they may be. `budget.value` is a `Limits`.

    Args:
        candidates: Architectures to score.
        min_params: Fewest parameters at first, or None.
        max_params: Most parameters at first, or None.
        params_range: Fewest and most parameters of the space, the ends of the slider: `Region(space).params_range()`.
        live: Widgets, or only the object.

    Raises:
        InputError: Limits that leave nothing between them.
    """

    def __init__(
        self,
        candidates: int = 60,
        *,
        min_params: float | None = None,
        max_params: float | None = None,
        params_range: tuple[int, int] = (10_000, 10_000_000),
        live: bool = True,
    ) -> None:
        low, high = (None if limit is None else round(limit) for limit in (min_params, max_params))
        if high is not None and high <= (low or 0):
            raise bad_value("max_params", max_params, f"a number above {low or 0}, or None")
        super().__init__(Limits(candidates, low, high), live=live)
        self._ends = params_range

    def children(self) -> list[w.Widget]:
        number = w.BoundedIntText(self.value.candidates, min=1, max=1_000_000, description="candidates", style=LABEL,
                                  layout={"width": "240px"})  # fmt: skip
        number.add_class("vk-candidates")
        number.observe(lambda change: self._apply(lambda: setattr(self.value, "candidates", change["new"])), "value")
        low, high = (value / 1e6 for value in self._ends)
        limits = (self.value.min_params, self.value.max_params)
        shown = [end if limit is None else limit / 1e6 for end, limit in zip((low, high), limits, strict=True)]
        sizes = w.FloatRangeSlider(
            value=[min(max(value, low), high) for value in shown],
            min=low, max=high, step=(high - low) / 200, readout_format=".3f", style=LABEL,
            description="parameters (M)", continuous_update=False, layout=_WIDE,
        )  # fmt: skip
        sizes.add_class("vk-params")
        sizes.observe(lambda change: self._apply(lambda: self._set_sizes(*change["new"])), "value")
        return [number, sizes]

    def _set_sizes(self, low: float, high: float) -> None:
        fewest, most = self._ends
        self.value.min_params = None if low * 1e6 <= fewest else round(low * 1e6)
        self.value.max_params = None if high * 1e6 >= most else round(high * 1e6)


class ProxyPicker(Control):
    """Check boxes for the registered proxies, and a line for a spec with options. `picker.value` is a `ProxyChoice`.

    Args:
        specs: Specs chosen at first.
        live: Widgets, or only the object.
    """

    def __init__(self, specs: tuple[str, ...] = ("vintk", "ntk", "params"), *, live: bool = True) -> None:
        super().__init__(ProxyChoice(list(specs)), live=live)

    def children(self) -> list[w.Widget]:
        from vintk_kit.proxies import PROXIES

        self._boxes: dict[str, w.Checkbox] = {}
        self._grid = w.HBox(layout={"flex_flow": "row wrap", "max_width": "900px"})
        for name in dict.fromkeys([*PROXIES, *self.value.specs]):
            self._box(name, tooltip=PROXIES[name].source if name in PROXIES else name)
        self._text = w.Text(placeholder="vintk(kind='highpass', low=8)", description="add a spec", style=LABEL,
                            continuous_update=False, layout=_WIDE)  # fmt: skip
        self._text.add_class("vk-spec")
        self._text.observe(lambda change: change["new"] and self._apply(lambda: self._add(change["new"])), "value")
        self._chosen = w.HTML()
        self._chosen.add_class("vk-chosen")
        self._show()
        return [self._grid, self._text, self._chosen]

    def _box(self, name: str, tooltip: str) -> w.Checkbox:
        width = "auto" if "(" in name else "172px"
        box = w.Checkbox(name in self.value.specs, description=name, indent=False, layout={"width": width},
                         tooltip=tooltip)  # fmt: skip
        box.observe(lambda change: self._toggle(name, change["new"]), "value")
        self._boxes[name] = box
        self._grid.children = (*self._grid.children, box)
        return box

    def _toggle(self, name: str, chosen: bool) -> None:
        def change() -> None:
            if chosen and name not in self.value.specs:
                self.value.specs.append(name)
            elif not chosen and name in self.value.specs:
                self.value.specs.remove(name)
            self._show()

        self._apply(change)

    def _add(self, text: str) -> None:
        """Gives every spec of the text a ticked box, so that it can be taken back."""
        from vintk_kit.proxies import check_proxies

        for spec in map(str, check_proxies([text])):
            box = self._boxes.get(spec) or self._box(spec, tooltip=spec)
            box.value = True
        self._text.value = ""

    def _show(self) -> None:
        names = ", ".join(self.value.specs) or "none: choose at least one"
        self._chosen.value = message_html(f"Chosen: {names}", "note")
