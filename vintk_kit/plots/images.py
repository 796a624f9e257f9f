"""Figures of image batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vintk_kit.plots.template import layout

if TYPE_CHECKING:
    from vintk_kit.data import ProbeBatch


def probe_figure(batch: ProbeBatch, *, columns: int = 8, limit: int = 16) -> go.Figure:
    """The images of a probe batch in their original colours, titled by label.

    Args:
        batch: Images (N, 3, S, S), normalised by its mean and std.
        columns: Images per row.
        limit: At most so many images.
    """
    images = batch.images[:limit].cpu().numpy().transpose(0, 2, 3, 1) * np.array(batch.std) + np.array(batch.mean)
    rows = math.ceil(len(images) / columns)
    titles = [f"class {label}" for label in batch.labels[:limit].tolist()]
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.01, vertical_spacing=0.1)
    for index, image in enumerate(images):
        pixels = (255 * image.clip(0, 1)).round().astype(np.uint8)
        figure.add_trace(go.Image(z=pixels, hoverinfo="skip"), row=index // columns + 1, col=index % columns + 1)
    layout(figure, height=60 + 130 * rows)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure.update_annotations(font_size=11)
