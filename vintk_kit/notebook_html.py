"""Pages from executed notebooks whose plotly figures draw without a network, and their index."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vintk_kit.notebooks import NotebookRun

PLOTLY_MIME = "application/vnd.plotly.v1+json"


def figures(notebook: Path) -> list[dict[str, Any]]:
    """The plotly figures among a notebook's outputs, as JSON objects, in order."""
    cells = json.loads(notebook.read_text())["cells"]
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    return [output["data"][PLOTLY_MIME] for output in outputs if PLOTLY_MIME in output.get("data", {})]


def _figure_div(figure: dict[str, Any], **options: Any) -> str:
    import plotly.io

    return plotly.io.to_html(
        {"data": figure["data"], "layout": figure["layout"]},
        include_plotlyjs=False, full_html=False, validate=False, **options,
    )  # fmt: skip


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def write_html(notebook: Path, page: Path) -> Path:
    """Converts an executed notebook to one self-contained page.

    nbconvert alone drops plotly's MIME type unless a network is there; here each figure becomes a division
    drawn by one embedded copy of plotly.js (about 5 MB).

    Args:
        notebook: The executed file, figures stored under plotly's MIME type.
        page: Where to write.

    Returns:
        `page`.
    """
    import nbformat
    from nbconvert import HTMLExporter

    document = nbformat.read(notebook, as_version=4)
    found = False
    for cell in document.cells:
        for output in cell.get("outputs", []):
            figure = output.get("data", {}).get(PLOTLY_MIME)
            if figure:
                output["data"] = {"text/html": _figure_div(figure)}
                found = True
    exporter = HTMLExporter(require_js_url="", widget_renderer_url="", jquery_url="")
    text, _ = exporter.from_notebook_node(document)
    if found:
        text = text.replace("<head>", f"<head>{_plotly_script()}", 1)
    page.write_text(text)
    return page


def write_index(runs: Sequence[NotebookRun], page: Path) -> Path:
    """Writes a page that links the runs, each with its duration, state and last figure as thumbnail."""
    cards = "\n".join(_card(run, page.parent) for run in runs)
    page.write_text(_INDEX.format(script=_plotly_script(), cards=cards))
    return page


def _card(run: NotebookRun, folder: Path) -> str:
    drawn = figures(run.notebook)
    state = "failed" if run.error else "done"
    thumbnail = ""
    if drawn:
        figure = json.loads(json.dumps(drawn[-1]))
        layout = figure["layout"]
        layout.update(width=320, height=200, margin={"l": 30, "r": 10, "t": 10, "b": 25}, showlegend=False)
        layout.pop("title", None)
        thumbnail = _figure_div(figure, config={"staticPlot": True})
    error = f"<pre>{html.escape(run.error)}</pre>" if run.error else ""
    link = run.html.relative_to(folder) if run.html.is_relative_to(folder) else run.html
    return (
        f'<a class="card {state}" href="{link}"><h2>{html.escape(run.name)}</h2>'
        f"<p>{state} in {run.seconds:.0f} s</p>{thumbnail}{error}</a>"
    )


_INDEX = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>vintk_kit notebooks</title>{script}
<style>
body {{ font: 15px system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }}
.cards {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
.card {{ width: 340px; padding: .6rem; border: 1px solid #bbb; border-radius: 6px; color: inherit;
  text-decoration: none; }}
.card h2 {{ font-size: 1rem; margin: 0; }} .card p {{ margin: .2rem 0; color: #555; }}
.failed {{ border-color: #b00; }} pre {{ white-space: pre-wrap; color: #b00; }}
</style></head><body><h1>Executed notebooks</h1><div class="cards">{cards}</div></body></html>
"""
