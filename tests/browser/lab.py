"""Driving one notebook in JupyterLab: open, run, look. Every wait polls with a generous deadline."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

DEADLINE = 120.0  # seconds; the machine may be loaded

_OPEN = """() => {
  const current = window.jupyterapp?.shell?.currentWidget;
  const kernel = current?.sessionContext?.session?.kernel;
  return current?.content?.widgets?.length > 0 && current.context?.isReady && kernel?.status === 'idle';
}"""
_OUTPUTS = """(index) => {
  const cell = window.jupyterapp.shell.currentWidget.content.widgets[index];
  return cell.model.type === 'code' ? cell.model.sharedModel.getOutputs() : [];
}"""


@dataclass
class Server:
    """A running JupyterLab."""

    url: str
    token: str
    root: Path

    def call(self, method: str, path: str) -> Any:
        """One request to the server's interface."""
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def end_kernels(self) -> None:
        """Shuts every kernel down, so that tests do not share one."""
        for session in self.call("GET", "/api/sessions"):
            self.call("DELETE", f"/api/sessions/{session['id']}")


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Polls a condition and returns its value once true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


_SETTINGS = {  # no news pop-up, no update check, and cells outside the window rendered too
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


@contextlib.contextmanager
def serve(home: Path, notebooks: Path, settings: dict[str, dict] | None = None) -> Iterator[Server]:
    """Runs JupyterLab on a copy of `notebooks`; everything it writes lies below `home`."""
    root = home / "notebooks"
    shutil.copytree(notebooks, root, ignore=shutil.ignore_patterns("runs", ".ipynb_checkpoints"))
    for plugin, values in (_SETTINGS | (settings or {})).items():
        path = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", secrets.token_hex(16), root)
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "JUPYTER_CONFIG_DIR": str(home / "config"),
        "IPYTHONDIR": str(home / "ipython"), "VINTK_RUNS": str(home / "runs"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={server.token}", f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=0",
    ]  # fmt: skip
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=root)
        try:
            until(lambda: _answers(server, process, home / "lab.log"), f"JupyterLab is up, see {home / 'lab.log'}")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(server: Server, process: subprocess.Popen, log: Path) -> bool:
    assert process.poll() is None, f"JupyterLab ended: {log.read_text()[-2000:]}"
    try:
        server.call("GET", "/api")
    except OSError:
        return False
    return True


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Debian's Chromium under Playwright, or None where it is not installed."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Notebook:
    """A notebook open in a page."""

    def __init__(self, page: Any, server: Server) -> None:
        self.page, self.server = page, server

    def open(self, source: str | list[str], **parameters: Any) -> Notebook:
        """Opens a notebook of the product by name with parameters, or one made of the given code cells."""
        if isinstance(source, str):
            book = nbformat.read(self.server.root / f"{source}.ipynb", as_version=4)
            index = next(i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
            lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
            book.cells.insert(index + 1, nbformat.v4.new_code_cell(lines))
            name = f"try_{source}.ipynb"
        else:
            book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in source])
            name = "try_cells.ipynb"
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.server.root / name)
        self.sources = [cell.source for cell in book.cells]
        self._address = f"{self.server.url}/doc/tree/{name}?token={self.server.token}&reset"
        return self.reload(self._address)

    def reload(self, address: str | None = None) -> Notebook:
        """Loads the page again; the kernel lives on."""
        self.page.goto(address or self._address)
        self.page.wait_for_function(_OPEN)
        return self

    def save(self) -> None:
        """Saves the notebook with its outputs."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def run(self, index: int, *, wait: bool = True) -> None:
        """Runs one cell; with `wait` until it has ended."""
        self.page.evaluate(
            """([index, wait]) => {
              const content = window.jupyterapp.shell.currentWidget.content;
              content.activeCellIndex = index;
              content.deselectAll();
              const done = window.jupyterapp.commands.execute('notebook:run-cell');
              return wait ? done.then(() => true) : true;
            }""",
            [index, wait],
        )
        if wait:
            self.check(index)

    def run_to(self, last: int | None = None) -> None:
        """Runs all cells in order, up to and including `last`, and fails on the first error."""
        for index, text in enumerate(self.sources[: None if last is None else last + 1]):
            if text and self.is_code(index):
                self.run(index)

    def is_code(self, index: int) -> bool:
        return self.page.evaluate(
            "(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.type === 'code'", index
        )

    def outputs(self, index: int) -> list[dict]:
        """The outputs of a cell as the notebook format has them."""
        return self.page.evaluate(_OUTPUTS, index)

    def text(self, index: int) -> str:
        """Everything a cell printed or showed as text."""
        parts = []
        for output in self.outputs(index):
            part = output.get("text") or output.get("data", {}).get("text/plain", "")
            parts.append("".join(part) if isinstance(part, list) else part)
        return "\n".join(parts)

    def check(self, index: int) -> None:
        """Fails if a cell ended in an error, with its traceback."""
        for output in self.outputs(index):
            if output["output_type"] == "error":
                raise AssertionError(
                    f"cell {index} failed: {output['ename']}: {output['evalue']}\n" + "\n".join(output["traceback"])
                )

    def find(self, text: str) -> int:
        """The first cell that holds a text."""
        return next(i for i, source in enumerate(self.sources) if text in source)

    def show(self, index: int) -> None:
        """Scrolls to a cell."""
        self.page.evaluate(
            "(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].node.scrollIntoView({block: 'start'})",
            index,
        )

    def plotted(self, trace: int = 0, axis: str = "x", plot: int = 0) -> list[float]:
        """The numbers that a figure in the page shows."""
        return self.page.evaluate(
            """([plot, trace, axis]) => {
              const found = document.querySelectorAll('.vk-panel .js-plotly-plot')[plot];
              const values = found?._fullData?.[trace]?.[axis];
              return values ? Array.from(values) : [];
            }""",
            [plot, trace, axis],
        )

    def title(self) -> str:
        """The title of the first figure of a panel."""
        return self.page.locator(".vk-panel .gtitle").first.text_content()

    def status(self) -> str:
        """The panel's status line."""
        return self.page.locator(".vk-status").first.inner_text()

    def height(self) -> float:
        """Pixels from top to bottom of the first panel."""
        return self.page.locator(".vk-panel").first.bounding_box()["height"]

    def stop(self, panel: int = 0) -> None:
        """Clicks a panel's Stop and checks that it obeys within two seconds, more on a machine that others load."""
        allowed = 2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        view = self.page.locator(".vk-panel:has(.vk-stop)").nth(panel)
        began = time.monotonic()
        view.locator("button.vk-stop").click()
        until(lambda: "Stopped" in view.locator(".vk-status").inner_text(), "Stop is obeyed")
        seconds = time.monotonic() - began
        assert seconds < allowed, f"stopped after {seconds:.1f} s; allowed: {allowed:.1f} s"

    def move(self, slider: str, key: str = "ArrowRight", times: int = 1) -> None:
        """Moves a slider by keyboard, as a reader without a mouse would."""
        handle = self.page.locator(f"{slider} .noUi-handle").first
        handle.scroll_into_view_if_needed()
        handle.focus()
        for _ in range(times):
            handle.press(key)
