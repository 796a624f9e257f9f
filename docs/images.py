"""Takes the pictures of the README from the notebooks in a real JupyterLab.

    python docs/images.py

Writes docs/images/*.webp, each below 150 kB. Takes about three minutes; needs Chromium and the extra `test`.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from lab import Notebook, browser, serve, until  # noqa: E402

LIMIT = 150_000  # bytes


def save(picture: bytes, name: str) -> None:
    """Writes a screenshot as WebP, in the best quality that stays below the limit."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for quality in (88, 75, 60, 45):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() < LIMIT:
            break
    path = ROOT / "docs" / "images" / f"{name}.webp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(buffer.getvalue())
    print(f"{path.relative_to(ROOT)}: {image.width} x {image.height}, {buffer.tell() / 1000:.0f} kB")


def panel_picture(book: Notebook, panel: int = 0) -> bytes:
    """The panel alone, without the notebook around it."""
    found = book.page.locator(".vk-panel").nth(panel)
    found.scroll_into_view_if_needed()
    return found.screenshot()


def fourier(book: Notebook) -> None:
    """The Fourier panel after a move of its slider, on the dark theme."""
    book.open("03_fourier_features")
    book.page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    book.run_to(book.find("panel = fourier_panel"))
    before = until(lambda: book.plotted(1, "y"), "the figure is drawn")
    book.move(".vk-low", times=4)
    until(lambda: book.plotted(1, "y") != before and "Computed" in book.status(), "the figure follows")
    save(panel_picture(book), "fourier-panel")
    book.page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")


def search(book: Notebook) -> None:
    """A search at its end, with one architecture selected."""
    book.open("05_search", run="gallery")
    book.run_to(book.find("panel = search_panel"))
    until(lambda: "Done" in book.status(), "the search ends", 600)
    book.page.locator(".vk-panel:has(.vk-run) .points path").nth(30).click(force=True)
    until(lambda: "microvit" in book.page.locator(".vk-picked").inner_text(), "the click selects")
    save(panel_picture(book, 1), "search-panel")


def training(book: Notebook) -> None:
    """A training at its end."""
    book.open("06_train", epochs=8, run="gallery-training")
    panel = book.find("panel = training_panel")
    book.run_to(panel)
    book.page.locator("button.vk-run").click()
    until(lambda: "Done" in book.status(), "the training ends", 600)
    save(panel_picture(book), "training-panel")


def frequency(book: Notebook) -> None:
    """The lesson on frequency bias."""
    book.open("01_frequency_bias")
    for index in (1, 2, book.find("from vintk_kit"), book.find("panel = frequency_panel")):
        book.run(index)
    until(lambda: book.plotted(0, "y"), "the learning curves are drawn")
    save(panel_picture(book), "frequency-panel")


def main(names: list[str]) -> None:
    """Takes all pictures, or those named."""
    pictures = {"fourier": fourier, "search": search, "training": training, "frequency": frequency}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder), ROOT / "notebooks") as server,
        browser() as chromium,
    ):
        page = chromium.new_page(viewport={"width": 1280, "height": 1500})
        page.set_default_timeout(120_000)
        for name in names or pictures:
            pictures[name](Notebook(page, server))
            server.end_kernels()


if __name__ == "__main__":
    main(sys.argv[1:])
