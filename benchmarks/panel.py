"""Measures what a reader waits for, in a real JupyterLab in Chromium: at notebook 03's panel and up to a live search.

    python benchmarks/panel.py [--moves 10]

Prints seconds of the import cell, from the start of the panel's cell to its controls, to the empty figure below them
and to the first results, and milliseconds from the release of a slider to the new figure. Then, from the start of
JupyterLab, what the first search takes: the index notebook opens, its cell is run, Start is clicked, a candidate
appears. Needs Chromium and the extra `test`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from lab import Notebook, Server, browser, serve, until  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

# One step of the slider; resolves with the time until the figure, whose title names the setting, is another one.
_MOVE = """() => new Promise(done => {
  const plot = document.querySelector('.vk-panel .js-plotly-plot');
  const shown = () => plot.querySelector('.gtitle').textContent;
  const before = shown(), began = performance.now();
  const look = () => shown() !== before ? done(performance.now() - began) : setTimeout(look, 4);
  document.querySelector('.vk-low .noUi-handle').dispatchEvent(
    new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
  look();
})"""


def measure(book: Notebook, moves: int) -> list[tuple[str, str, str]]:
    """Rows of (what, measured, aim)."""
    page = book.open("03_fourier_features").page
    cell = book.find("panel = fourier_panel")
    for index in range(book.find("import pandas")):
        if book.is_code(index):
            book.run(index)
    began = time.monotonic()
    book.run(book.find("import pandas"))
    imported = time.monotonic() - began
    began = time.monotonic()
    book.run(cell, wait=False)
    page.locator(".vk-panel .vk-low").first.wait_for()
    controls = time.monotonic() - began
    page.locator(".vk-panel .js-plotly-plot .main-svg").first.wait_for()
    painted = time.monotonic() - began
    until(lambda: book.plotted(1, "y"), "the first figures")
    computed = time.monotonic() - began
    waits, busy = [], []
    for _ in range(moves):
        page.wait_for_timeout(500)
        waits.append(page.evaluate(_MOVE))
        page.wait_for_timeout(100)
        number, unit = re.search(r"([\d.]+) (ms|s)", book.status()).groups()
        busy.append(float(number) * (1000 if unit == "s" else 1))
    return [
        ("import cell", f"{imported:.1f} s", ""),
        ("its controls in the page", f"{controls:.1f} s", ""),
        ("with its empty figure", f"{painted:.1f} s", "1.5 s"),
        ("imports and panel", f"{imported + painted:.1f} s", "4 s"),
        ("first figures", f"{computed:.1f} s", ""),
        ("slider to figure, median", f"{statistics.median(waits):.0f} ms", "300 ms"),
        ("slider to figure, slowest", f"{max(waits):.0f} ms", ""),
        ("of which computing, median", f"{statistics.median(busy):.0f} ms", ""),
    ]


def _page(chromium: Browser) -> Page:
    page = chromium.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(120_000)
    return page


def first_search(page: Page, server: Server) -> tuple[float, float]:
    """Seconds until the index notebook is open, and until a candidate of its search is drawn, by mouse and keyboard."""
    began = time.monotonic()
    page.goto(f"{server.url}/lab/tree/index.ipynb?token={server.token}&reset")
    code = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    code.click()
    page.locator(".jp-NotebookPanel .jp-Toolbar-kernelStatus, .jp-NotebookPanel [data-status='idle']").first.wait_for()
    opened = time.monotonic() - began
    page.keyboard.press("Shift+Enter")
    page.locator(".vk-panel .vk-run").click()
    page.locator(".vk-panel .js-plotly-plot .scatterlayer .point").first.wait_for()
    return opened, time.monotonic() - began


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=10, help="slider moves (default: 10)")
    moves = max(1, parser.parse_args().moves)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        if chromium is None:
            raise SystemExit("Chromium is not installed")
        began = time.monotonic()
        with serve(Path(folder), ROOT / "notebooks") as server:
            started = time.monotonic() - began
            opened, searching = first_search(_page(chromium), server)
            server.end_kernels()
            rows = measure(Notebook(_page(chromium), server), moves)
            server.end_kernels()
    rows += [
        ("JupyterLab started", f"{started:.1f} s", ""),
        ("index notebook open", f"{started + opened:.1f} s", ""),
        ("first candidate of a search", f"{started + searching:.1f} s", "60 s"),
    ]
    print(f"{'':28}{'measured':>10}{'aim':>10}")
    for what, value, aim in rows:
        print(f"{what:28}{value:>10}{aim:>10}")


if __name__ == "__main__":
    main()
