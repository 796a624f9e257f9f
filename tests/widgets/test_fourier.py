"""The Fourier panel: its numbers are the library's, sliders recompute, impossible settings are a message."""

import asyncio

import numpy as np
import pytest

from vintk_kit.data import probe_batch
from vintk_kit.errors import InputError
from vintk_kit.fourier import FourierFeatures
from vintk_kit.ntk import tangent_kernel
from vintk_kit.spaces import get_space
from vintk_kit.spectrum import condition_number
from vintk_kit.widgets import architecture_card, fourier_panel
from vintk_kit.widgets.fourier import statistics_html


@pytest.fixture(scope="module")
def small():
    space = get_space("microvit-32")
    names = {"patch_size": 8, "embed_dim": 32, "depth": 2, "mlp_ratio": (1, 1)}
    return [space.architecture(**names, num_heads=heads) for heads in ((2, 2), (4, 4))]


def test_headless_numbers_are_the_librarys(small):
    panel = fourier_panel(architectures=small, batch_size=4, features=FourierFeatures("highpass", low=3), live=False)
    space, images = get_space("microvit-32"), probe_batch("photopatch", n=4, image_size=32, seed=0).images
    network = space.build(small[0], weights=space.supernet(0))
    kernel = tangent_kernel(network, panel.features(images)).group("attention+mlp")
    assert panel.frame["mapped"]["condition number"] == pytest.approx(condition_number(kernel), rel=1e-6)
    assert panel.scores["mapped"][0] == pytest.approx(-np.log10(condition_number(kernel)), rel=1e-6)
    figure = panel.figure()
    assert len(figure.data) == 8
    assert np.isnan(figure.data[1].y[:2]).all()  # what the filter removed is a gap, not a floor
    assert np.isfinite(figure.data[1].y[3:]).all()


def test_a_slider_recomputes_in_a_thread_and_an_impossible_band_is_a_message(small):
    async def go():
        panel = fourier_panel(architectures=small, batch_size=4)
        view = panel.view
        assert "vk-panel" in view._dom_classes
        await shown(panel, lambda: panel.result is not None)
        before = np.array(panel.live_figure.widget.data[1].y)
        panel.tuner.fields["low"].value = 6
        await shown(panel, lambda: panel._shown["low"] == 6)
        assert not np.allclose(before, panel.live_figure.widget.data[1].y)
        assert panel.features == FourierFeatures("bandpass", low=6)
        assert "ms" in panel._status.value
        panel.tuner.fields["high"].value = 3
        assert "high" in panel.tuner.message.value
        panel.tuner.fields["kind"].value = "channel-gaussian"  # more channels: another supernet
        await shown(panel, lambda: panel._shown["kind"] == "channel-gaussian")
        return panel

    panel = asyncio.run(go())
    assert np.isfinite(panel.scores["mapped"]).all()


async def shown(panel, condition):
    async with asyncio.timeout(60):
        while not (panel._job.idle and condition()):
            await asyncio.sleep(0.01)


def test_networks_without_attention_show_the_kernel_of_all_their_weights():
    panel = fourier_panel("nasbench201", batch_size=2, count=1, live=False)
    assert len(panel.frame) == 5
    assert panel.result.groups == "patch_embed+norm+head+conv"
    shown = statistics_html(panel.frame, panel.result.groups)
    assert "kernel of A, patch embed, norm, head and conv<" in shown


def test_behind_features_that_change_nothing_a_network_responds_as_before():
    panel = fourier_panel("nasbench201", batch_size=2, count=1, features=FourierFeatures("identity"), live=False)
    responses = {trace.name: trace.y for trace in panel.figure().select_traces(row=2, col=1)}
    np.testing.assert_allclose(responses["plain"], responses["mapped"], rtol=1e-6)


def test_wrong_input_is_refused_before_any_work():
    with pytest.raises(InputError, match="batch_size"):
        fourier_panel(batch_size=1)
    with pytest.raises(InputError, match="search space"):
        fourier_panel("nothing", live=False)


def test_a_card_shows_sizes_choices_and_differences(small):
    text = architecture_card(small[0], reference=small[1])._repr_html_()
    assert "parameters" in text
    assert "<b>2 2</b>" in text
    assert "(reference 4 4)" in text
    assert len(architecture_card(small[0]).figure().data) >= 1
