"""One architecture on a card: its blocks to scale, its choices, its size."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

from vintk_kit.plots.scores import tidy_number


class ArchitectureCard:
    """See `architecture_card`."""

    def __init__(self, architecture: Any, reference: Any = None) -> None:
        from vintk_kit.spaces import get_space

        self.architecture, self.reference = architecture, reference
        self._space = get_space(architecture.space)
        self.facts = {
            "parameters": self._space.params(architecture),
            "MACs": self._space.macs(architecture),
            "space": architecture.space,
            "inside the table": self._space.contains(architecture),
        }

    def figure(self) -> go.Figure:
        """The blocks, drawn to scale."""
        from vintk_kit.plots.architecture import draw_architecture

        return draw_architecture(self._space, self.architecture)

    def _repr_html_(self) -> str:
        rows = []
        other = self.reference.as_dict() if self.reference is not None else {}
        for name, value in self.architecture.as_dict().items():
            shown = html.escape(_flat(value))
            if name in other and other[name] != value:
                shown = f"<b>{shown}</b> <span style='opacity:.7'>(reference {html.escape(_flat(other[name]))})</span>"
            rows.append(f"<tr><td>{html.escape(name)}</td><td style='text-align:left'>{shown}</td></tr>")
        sizes = f"{tidy_number(self.facts['parameters'])} parameters · {tidy_number(self.facts['MACs'])} MACs"
        outside = "" if self.facts["inside the table"] else " · outside the space's table"
        head = f"<b>{html.escape(self.architecture.key)}</b><br>{sizes}{outside}"
        return f"<div class='vk-card'>{head}<table>{''.join(rows)}</table></div>"

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(HTML(self._repr_html_()))
        display(self.figure())


def _flat(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def architecture_card(architecture: Any, *, reference: Any = None) -> ArchitectureCard:
    """A card for one architecture: sizes, choices, blocks drawn to scale; the same with and without widgets.

    Args:
        architecture: The `Architecture`.
        reference: Another one to compare with; choices that differ are set in bold.
    """
    return ArchitectureCard(architecture, reference)
