"""The product's notebooks in JupyterLab: run, move sliders, stop, select, in both themes."""

import re

import pytest
from lab import until

pytestmark = [pytest.mark.browser, pytest.mark.serial]


def test_fourier_sliders_change_figure_and_object_and_a_wrong_band_is_a_message(open_notebook):
    book = open_notebook("03_fourier_features", batch_size=4, count=2)
    book.run_to(book.find("panel = fourier_panel"))
    until(lambda: "Computed" in book.status(), "the first kernels")
    before = until(lambda: book.plotted(1, "y"), "the spectrum of the mapped images is drawn")
    book.move(".vk-low", times=4)
    until(lambda: book.plotted(1, "y") != before, "the figure follows the slider")
    used = book.find("panel.features")
    book.run(used)
    low = float(re.search(r"low=([0-9.]+)", book.text(used)).group(1))
    assert low > 2
    tall = book.height()
    book.move(".vk-high", "Home")
    message = book.page.locator(".vk-error")
    until(lambda: message.count() and "above low" in message.first.inner_text(), "an impossible band is explained")
    assert book.height() == tall, "a message moves nothing"
    book.page.locator(".vk-kind select").select_option("channel-gaussian")
    until(lambda: "channel-gaussian" in book.title(), "the kind changes")
    assert message.count() == 0
    book.run_to()  # the rest of the notebook runs with what was chosen


def test_search_space_counts_scores_and_hands_the_selection_on(open_notebook):
    book = open_notebook("02_search_space", scored=12, samples=50, batch_size=4, proxies="ntk,params")
    book.run_to(book.find("picker = SpacePicker"))
    count = book.page.locator(".vk-count").first
    whole = count.inner_text()
    book.move(".vk-depth", "ArrowRight")
    until(lambda: count.inner_text() != whole, "the number of architectures follows")
    for index in range(book.find("region = picker"), len(book.sources)):
        if book.is_code(index):
            book.run(index)
    lines = book.page.locator(".vk-table option")
    until(lambda: lines.count() == 12, "every architecture is listed")
    book.page.locator("button.vk-next").focus()
    book.page.keyboard.press("Space")
    picked = book.page.locator(".vk-picked")
    key = until(lambda: re.search(r"microvit-32-[0-9a-f]{12}", picked.inner_text()), "a line is selected").group(0)
    card = book.find("panel.selection.architecture or")
    book.run(card)
    assert key in "".join(str(output) for output in book.outputs(card))


def test_a_live_search_stops_on_click_and_the_waiting_cell_goes_on(open_notebook):
    book = open_notebook("05_search", candidates=5000, strategy="random", proxies="ntk,params", batch_size=4,
                         max_params=1.5e6, run="stopped")  # fmt: skip
    panel = book.find("panel = search_panel")
    book.run_to(panel)
    until(lambda: len(book.plotted()) > 3, "candidates arrive")
    book.run(panel + 1, wait=False)
    book.stop()
    until(lambda: book.outputs(panel + 1), "the waiting cell shows its figure")
    book.check(panel + 1)


def test_training_pauses_and_stops(open_notebook):
    book = open_notebook("06_train", epochs=500, run="trained")
    panel = book.find("panel = training_panel")
    book.run_to(panel)
    book.page.locator("button.vk-run").click()
    until(lambda: len(book.plotted()) >= 2, "epochs arrive")
    assert "epoch" in book.page.locator(".vk-epoch").inner_text()
    book.stop()


def test_the_tour_runs_to_its_end_after_its_search_was_stopped(open_notebook):
    book = open_notebook("00_tour", candidates=5000, strategy="random", proxies="ntk,params", epochs=1,
                         max_params=5e4, run="toured")  # fmt: skip
    search = book.find("panel = search_panel")
    book.run_to(search)
    until(lambda: len(book.plotted()) > 3, "candidates arrive")
    book.stop()
    for index in range(search + 1, len(book.sources)):
        if book.is_code(index):
            book.run(index)
    until(lambda: "Done" in book.page.locator(".vk-status").nth(1).inner_text(), "every entrant is trained")
    assert "random 3" in book.page.locator(".vk-epoch").inner_text()
    assert "Winner:" in book.text(book.find("outcome = trainings"))


def test_correlation_is_judged_from_what_was_scored_before_stop(open_notebook):
    book = open_notebook("04_correlation", proxies="ntk,naswot", batch_size=4, candidates=150, run="correlated")
    panel = book.find("panel = correlation_panel")
    book.run_to(panel)
    until(lambda: len(book.plotted()) > 12, "scores arrive")
    book.stop()
    numbers = book.page.locator(".vk-numbers").inner_text()
    assert "naswot" in numbers
    assert "params" in numbers
    before = book.plotted()
    book.page.locator(".vk-proxy select").select_option("naswot")
    until(lambda: book.plotted() != before, "the scatter follows the menu")
    for index in range(panel + 1, len(book.sources)):
        if book.is_code(index):
            book.run(index)


def test_segmentation_trains_the_best_of_what_was_scored_before_stop(open_notebook):
    book = open_notebook("07_segmentation", candidates=300, proxies="ntk,params", max_params=1.5e6, epochs=1,
                         eval_images=2, run="segmented")  # fmt: skip
    scores = book.find("scores = candidates_panel")
    book.run_to(scores)
    until(lambda: len(book.plotted()) > 2, "scores arrive")
    book.stop()
    for index in range(scores + 1, len(book.sources)):
        if book.is_code(index):
            book.run(index)
    assert "Winner: mIoU" in book.text(book.find("outcome = job.result"))
    until(lambda: "baseline" in book.page.locator(".vk-epoch").inner_text(), "every entrant is trained")


def test_the_frequency_lesson_follows_its_sliders(open_notebook):
    book = open_notebook("01_frequency_bias", width=64, steps=50)
    for text in ("from vintk_kit", "panel = frequency_panel"):
        for index in (1, 2, book.find(text)):
            book.run(index)
    before = until(lambda: book.plotted(0, "y"), "the learning curves are drawn")
    book.move(".vk-learning-rate", "ArrowRight", times=4)
    until(lambda: book.plotted(0, "y") != before, "the curves follow")


def test_panels_are_legible_in_the_dark_theme_and_fit_the_window(open_notebook):
    book = open_notebook("03_fourier_features", batch_size=4, count=2)
    book.run_to(book.find("panel = fourier_panel"))
    until(lambda: book.plotted(1, "y"), "the figure is drawn")
    book.page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    until(lambda: book.page.evaluate("() => document.body.dataset.jpThemeLight") == "false", "the theme changes")
    book.show(book.find("panel = fourier_panel"))
    colour = "() => getComputedStyle(document.querySelector('.vk-panel .xtick text')).fill"
    until(lambda: min(map(int, re.findall(r"\d+", book.page.evaluate(colour))[:3])) > 150, "tick labels are light")
    wide = "() => document.querySelector('.vk-panel').getBoundingClientRect().right"
    assert book.page.evaluate(wide) <= 1280
