"""Panels under a reader's hands: live figures, Stop, selection, reload, a busy kernel."""

import time

import pytest
from lab import until

pytestmark = [pytest.mark.browser, pytest.mark.serial]

ROWS = """
import itertools, json, time
def rows(stop):
    for i in itertools.count():
        if stop.wait(0.02):
            return
        text = json.dumps({"space": "microvit-32", "choices": {"depth": i}})
        yield {"key": f"k{i}", "architecture": text, "params": 1e5 * (i % 50 + 1), "score": (i * 37 % 101) / 10}
"""
PANEL = """
from vintk_kit.widgets import search_panel
panel = search_panel(rows, total=2000)
panel
"""


def test_start_pause_resume_and_stop_by_click(open_notebook):
    book = open_notebook([ROWS, PANEL, "frame = await panel.done()\nprint('rows', len(frame), panel.run.state)"])
    book.run(0)
    book.run(1)
    page = book.page
    until(lambda: "Ready" in book.status(), "an empty panel says Ready")
    page.locator("button.vk-run").click()
    until(lambda: len(book.plotted()) > 10, "points arrive in the figure")
    page.locator("button.vk-pause").click()
    until(lambda: "Paused" in book.status(), "the pause is shown")
    page.locator("button.vk-pause").click()
    held = len(book.plotted())
    until(lambda: len(book.plotted()) > held, "points arrive again")
    book.run(2, wait=False)  # a cell awaits the run, and Stop still works
    page.locator("button.vk-stop").click()
    began = time.monotonic()
    until(lambda: "Stopped" in book.status(), "Stop is obeyed")
    assert time.monotonic() - began < 20  # two seconds on a quiet machine
    until(lambda: "rows" in book.text(2), "the waiting cell continues")
    assert "stopped" in book.text(2)
    shown = len(book.plotted())
    assert f"rows {shown} " in book.text(2)


def test_a_click_on_a_point_and_a_line_select_for_the_next_cell(open_notebook):
    few = ROWS.replace("itertools.count()", "range(12)")
    used = ["panel.selection.key", "panel.selection.architecture"]
    book = open_notebook([few, PANEL + "\npanel.start()", "panel", *used])
    for index in range(3):
        book.run(index)
    until(lambda: len(book.plotted()) == 12, "all points are shown")
    point = book.page.locator(".vk-panel .js-plotly-plot .points path").nth(4)
    point.scroll_into_view_if_needed()
    point.click(force=True)
    until(lambda: "k4" in book.page.locator(".vk-picked").inner_text(), "the click selects")
    book.run(3)
    assert "k4" in book.text(3)
    book.run(4)
    assert "Architecture(space='microvit-32'" in book.text(4)
    book.page.locator(".vk-table button.vk-sort").first.click()
    listed = book.page.locator(".vk-table select")
    until(lambda: "k8" in listed.locator("option").first.inner_text(), "the highest score comes first")
    listed.focus()
    listed.press("Home")
    until(lambda: "k8" in book.page.locator(".vk-picked").inner_text(), "the keyboard selects too")


def test_a_reload_and_a_long_synchronous_cell_lose_nothing(open_notebook):
    few = ROWS.replace("itertools.count()", "range(100)")
    book = open_notebook([few, PANEL, "import time; time.sleep(4)", "panel", "len(panel.frame), panel.run.state"])
    book.run(0)
    book.run(1)
    book.page.locator("button.vk-run").click()
    until(lambda: len(book.plotted()) > 3, "points arrive")
    book.run(2)
    book.save()
    book.reload()
    book.run(3)
    until(lambda: "Done" in book.status(), "the run ends")
    until(lambda: len(book.plotted()) == 100, "the reloaded page shows every row")
    book.run(4)
    assert "(100, 'done')" in book.text(4)


def test_an_error_is_a_message_and_the_panel_can_start_anew(open_notebook):
    broken = """
from vintk_kit.errors import InputError
fail = True
def rows(stop):
    yield {"key": "k0", "architecture": "{}", "params": 1.0, "score": 1.0}
    if fail:
        raise InputError("sigma: got -1; allowed: a positive number")
"""
    book = open_notebook([broken, PANEL, "fail = False"])
    book.run(0)
    book.run(1)
    book.page.locator("button.vk-run").click()
    until(lambda: "sigma: got -1" in book.page.locator(".vk-message").first.inner_text(), "the message is shown")
    assert "Failed" in book.status()
    assert not book.outputs(1)[1:], "no traceback below the panel"
    book.run(2)
    book.page.locator("button.vk-run").click()
    until(lambda: "Done" in book.status(), "a second start works")
    assert book.page.locator(".vk-message").first.inner_text().strip() == ""
