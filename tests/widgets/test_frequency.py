"""The lecturer's panel trains for the newest settings and shows refusals as messages."""

from vintk_kit.widgets import frequency_panel


def small(**options):
    return frequency_panel(width=64, steps=20, **options)


def test_a_slider_edits_the_settings_and_the_figure():
    panel = small(highest=4)
    assert panel.view
    before = len(panel._curves.widget.data)
    panel.controls["highest"].value = 9
    assert panel.settings.frequencies == (1, 2, 4, 8, 9)
    assert len(panel._curves.widget.data) > before
    assert "9" in panel._status.value


def test_a_learning_rate_that_diverges_is_a_message_and_recovers():
    panel = small()
    assert panel.view
    panel.controls["learning_rate"].value = 1.0
    assert "2 / lambda_0" in panel._message.value
    panel.controls["learning_rate"].value = 0.3
    assert panel._message.value == ""


def test_without_widgets_there_are_two_static_figures():
    curves, signal = small(live=False).figures()
    assert len(curves.data) == 8
    assert len(signal.data) == 6
