"""Panels under a reader's hands: live figures, Stop, selection, reload, a busy kernel."""

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
    book.stop()
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


TRAINED = """
import pandas as pd
from vintk_kit.widgets import ProxyPicker, contest_panel, correlation_panel
truth = pd.DataFrame({"key": [f"k{i}" for i in range(40)], "accuracy": range(40), "params": range(40, 0, -1)})
def scored(stop):
    for i in range(40):
        for proxy in ("ntk", "naswot"):
            stop.wait(0.01)
            yield {"key": f"k{i}", "proxy": proxy, "score": float(i if proxy == "ntk" else i % 7), "error": None}
def epochs(stop):
    for name in ("winner", "largest", "random 1"):
        for epoch in range(1, 1000 if name == "random 1" else 4):
            if stop.wait(0.02):
                return
            yield {"entrant": name, "epoch": epoch, "train_loss": 1 / epoch, "val_accuracy": 1 - 1 / epoch}
"""


def test_proxies_are_picked_correlated_and_raced(open_notebook):
    book = open_notebook([TRAINED, "picker = ProxyPicker(('ntk',))\npicker", "picker.value.specs",
                          "panel = correlation_panel(truth, scored, total=40)\npanel.start()\npanel",
                          "race = contest_panel(epochs, total=1006)\nrace.start()\nrace"])  # fmt: skip
    book.run(0)
    book.run(1)
    page = book.page
    page.get_by_label("naswot", exact=True).check()
    typed = page.locator(".vk-spec input")
    typed.fill("nonsense")
    typed.press("Enter")
    until(lambda: "nonsense" in page.locator(".vk-error").inner_text(), "an unknown proxy is explained")
    typed.fill("vintk(kind='highpass', low=8)")
    typed.press("Enter")
    until(lambda: "highpass" in page.locator(".vk-chosen").inner_text(), "a spec of one's own is chosen")
    assert page.locator(".vk-error").count() == 0
    book.run(2)
    assert "'ntk', 'naswot', \"vintk(" in book.text(2)
    book.run(3)
    until(lambda: "Done" in book.status(), "all scores arrive")
    numbers = page.locator(".vk-numbers").inner_text()
    assert "+1.000" in numbers
    assert len(book.plotted()) == 40
    page.locator(".vk-proxy select").select_option("naswot")
    until(lambda: max(book.plotted()) == 6, "the scatter follows the menu")
    book.run(4)
    until(lambda: "random 1" in page.locator(".vk-epoch").inner_text(), "the third entrant trains")
    assert len(book.plotted(0, plot=1)) == 3
    book.stop(1)
    assert page.locator(".vk-run").nth(1).is_enabled()
