"""A real JupyterLab on the loopback interface and a real Chromium."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import DEADLINE, Notebook, Server, browser, serve

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory):
    """One server per session; its root is a copy of the notebooks, so that saving changes nothing here."""
    with serve(tmp_path_factory.mktemp("lab"), ROOT / "notebooks") as server:
        yield server


@pytest.fixture(scope="module")
def chromium():
    """The browser; stopped after the module, because its event loop lives in this thread."""
    with browser() as opened:
        if opened is None:
            pytest.skip("Chromium is not installed")
        yield opened


def _told(message) -> str:
    return f"{message.text} [{message.location.get('url', '')}]"


@pytest.fixture
def open_notebook(lab_server: Server, chromium, tmp_path: Path, request: pytest.FixtureRequest):
    """A function that opens a notebook; afterwards a screenshot is kept and the console must hold no error."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(DEADLINE * 1000)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(_told(message)) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_(source, **parameters) -> Notebook:
        return Notebook(page, lab_server).open(source, **parameters)

    yield open_
    page.screenshot(path=tmp_path / f"{request.node.name}.png")
    context.close()
    lab_server.end_kernels()
    assert not errors, f"console errors: {errors}"
