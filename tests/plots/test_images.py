"""The probe figure shows the pixels that were cut, not the normalised ones."""

import numpy as np

from vintk_kit.data import probe_batch
from vintk_kit.plots.images import probe_figure


def test_colours_are_restored():
    batch = probe_batch("photopatch", n=10, image_size=32)
    figure = probe_figure(batch, columns=5)
    assert len(figure.data) == 10
    assert figure.data[0].z.dtype == np.uint8
    mean = np.mean([trace.z.mean() for trace in figure.data]) / 255
    assert abs(mean - np.mean(batch.mean)) < 0.25
