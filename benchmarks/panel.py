"""Measures what a reader waits for at the Fourier panel of notebook 03, in a real JupyterLab in Chromium.

    python benchmarks/panel.py [--moves 10]

Prints seconds of the import cell, from the start of the panel's cell to its controls, to the empty figure below them
and to the first results, and milliseconds from the release of a slider to the new figure. Needs Chromium and the
extra `test`.
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

from lab import Notebook, browser, serve, until  # noqa: E402

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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=10, help="slider moves (default: 10)")
    moves = max(1, parser.parse_args().moves)
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), ROOT / "notebooks") as server:
        with browser() as chromium:
            if chromium is None:
                raise SystemExit("Chromium is not installed")
            page = chromium.new_page(viewport={"width": 1280, "height": 1600})
            page.set_default_timeout(120_000)
            rows = measure(Notebook(page, server), moves)
        server.end_kernels()
    print(f"{'':28}{'measured':>10}{'aim':>10}")
    for what, value, aim in rows:
        print(f"{what:28}{value:>10}{aim:>10}")


if __name__ == "__main__":
    main()
