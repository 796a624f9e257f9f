"""Figures of probe images, their Fourier features, and the tangent kernels they give."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vintk_kit.errors import bad_value
from vintk_kit.plots.template import PALETTE, layout

PLAIN, MAPPED = PALETTE[0], PALETTE[1]


def radial_power(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean spectral power of a batch per radial frequency, averaged over images and channels.

    Args:
        images: (N, c, H, W), square images.

    Returns:
        Radii 0, 1, ..., H // 2 in cycles per image, and the mean power |FFT|^2 / (H W) on each ring.

    Raises:
        InputError: Not a batch of square images.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise bad_value("images", f"shape {images.shape}", "a batch (N, c, H, H)")
    side = images.shape[-1]
    power = (np.abs(np.fft.fft2(images)) ** 2).mean((0, 1)) / side**2
    axis = np.fft.fftfreq(side, 1 / side)
    rings = np.rint(np.hypot(axis[:, None], axis[None, :])).astype(int).ravel()
    totals, counts = np.bincount(rings, power.ravel()), np.bincount(rings)
    return np.arange(side // 2 + 1), (totals / counts)[: side // 2 + 1]


def montage(images: np.ndarray, mapped: np.ndarray, *, channels: int = 8, scale: int = 3) -> bytes:
    """A PNG: the image with most contrast, then its mapped channels in grey, each stretched to its own range.

    Args:
        images: (N, 3, H, W).
        mapped: (N, c', H, W).
        channels: Largest number of mapped channels shown; three channels are shown as one colour image too.
        scale: Pixels per pixel.
    """
    from PIL import Image

    shown = int(np.argmax(images.std((1, 2, 3))))
    tiles = [_stretch(images[shown].transpose(1, 2, 0))]
    if mapped.shape[1] == 3:
        tiles.append(_stretch(mapped[shown].transpose(1, 2, 0)))
    tiles += [np.repeat(_stretch(channel)[..., None], 3, -1) for channel in mapped[shown][:channels]]
    gap = np.zeros((tiles[0].shape[0], 2, 4), np.uint8)
    parts = []
    for tile in tiles:
        parts += [np.concatenate([tile, np.full_like(tile[..., :1], 255)], -1), gap]
    picture = np.concatenate(parts[:-1], 1).repeat(scale, 0).repeat(scale, 1)
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _stretch(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (1, 99))  # a single bright pixel must not darken all others
    return np.rint(np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)


def eigenvalue_curves(kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Eigenvalues of each (N, N) kernel in descending order, divided by the largest."""
    curves = {}
    for name, kernel in kernels.items():
        values = np.linalg.eigvalsh(np.asarray(kernel, np.float64))[::-1]
        curves[name] = values / values[0] if values[0] > 0 else values
    return curves


def kernel_figure(
    spectra: Mapping[str, tuple[np.ndarray, np.ndarray]],
    eigenvalues: Mapping[str, np.ndarray],
    response: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    height: int = 560,
    title: str = "Plain input against Fourier features",
) -> go.Figure:
    """Four plots of what Fourier features do: to images, to the kernel, to the network, to scores.

    Args:
        spectra: Name to (radius, power), as `radial_power` returns; first plain, then mapped.
        eigenvalues: Name to eigenvalues, largest first, as `eigenvalue_curves` returns.
        response: Columns frequency, group (plain or mapped), response: of the tangent features to a grating.
        scores: Columns architecture (label), plain, mapped: one statistic for a few architectures.
        height: Pixels.
        title: Title.
    """
    figure = go.Figure(_kernel_axes(height)).update_layout(title_text=title)
    for colour, (name, (radius, power)) in zip((PLAIN, MAPPED), spectra.items(), strict=False):
        figure.add_scatter(x=radius, y=_visible(power), name=name, legendgroup=name, line_color=colour,
                           mode="lines", row=1, col=1)  # fmt: skip
    for colour, (name, values) in zip((PLAIN, MAPPED), eigenvalues.items(), strict=False):
        figure.add_scatter(x=np.arange(1, len(values) + 1), y=_positive(values), legendgroup=name, name=name,
                           line_color=colour, mode="lines+markers", showlegend=False, row=1, col=2)  # fmt: skip
    for colour, (name, part) in zip((PLAIN, MAPPED), response.groupby("group", sort=False), strict=False):
        figure.add_scatter(x=part["frequency"].to_numpy(float), y=_positive(part["response"].to_numpy(float)),
                           name=str(name), legendgroup=str(name), line_color=colour, mode="lines+markers",
                           showlegend=False, row=2, col=1)  # fmt: skip
    for row, column in ((1, 1), (1, 2), (2, 1)):
        shown = [trace.y for trace in figure.select_traces(row=row, col=column)]
        figure.update_yaxes(dtick=_decades(shown), row=row, col=column)
    for colour, name in ((PLAIN, "plain"), (MAPPED, "mapped")):
        figure.add_bar(x=scores["architecture"].astype(str).to_numpy(object), y=scores[name].to_numpy(float),
                       marker_color=colour, name=name, showlegend=False, row=2, col=2)  # fmt: skip
    return figure


def _positive(values: np.ndarray) -> np.ndarray:
    """What a logarithmic axis can show; a gap where a mapping has left nothing."""
    return np.where(values > 1e-12, values, np.nan)


def _decades(curves: list[np.ndarray]) -> int | None:
    """Decades from label to label, so that at most about six are drawn; None within one: plotly's own digits."""
    values = np.concatenate([*curves, [np.nan]])
    values = values[np.isfinite(values) & (values > 0)]
    span = np.log10(values.max() / values.min()) if len(values) else 0.0
    return max(1, round(span / 5)) if span > 1 else None


def _visible(power: np.ndarray) -> np.ndarray:
    """Power without what a filter removed: a gap in the line, where twelve empty decades would flatten the rest."""
    return np.where(power > 1e-7 * power.max(initial=0), power, np.nan)


@lru_cache(4)
def _kernel_axes(height: int) -> go.Figure:
    """The four empty plots; kept, because plotly takes longer over them than over the data."""
    titles = ("power of the images", "kernel eigenvalues λ / λ₁", "response to a grating", "−log₁₀ κ per architecture")
    figure = make_subplots(2, 2, subplot_titles=titles, vertical_spacing=0.19, horizontal_spacing=0.1)
    layout(figure, height=height)
    figure.update_annotations(font_size=13)
    figure.update_layout(legend={"orientation": "h", "y": 1.13, "x": 0.45}, bargap=0.35)
    for row, column in ((1, 1), (1, 2), (2, 1)):
        figure.update_yaxes(type="log", exponentformat="power", row=row, col=column)
    return figure.update_xaxes(title_text="cycles per image", col=1).update_xaxes(title_text="index", row=1, col=2)


def sweep_figure(frame: pd.DataFrame, *, title: str = "Score against the lower edge of the band") -> go.Figure:
    """One line per architecture: columns edge (cycles per image), architecture, score (-log10 condition number)."""
    figure = go.Figure()
    for name, part in frame.groupby("architecture", sort=False):
        figure.add_scatter(x=part["edge"].to_numpy(float), y=part["score"].to_numpy(float), name=str(name),
                           mode="lines+markers")  # fmt: skip
    return layout(figure, title=title, x="lower edge (cycles per image)", y="−log₁₀ κ")
