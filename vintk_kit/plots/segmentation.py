"""Figures of dense prediction: masks over images, IoU per class, agreement of scores with training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vintk_kit.errors import InputError
from vintk_kit.paths import run_folder
from vintk_kit.plots.template import PALETTE, layout

IGNORE = 255


def blend(
    image: np.ndarray, mask: np.ndarray, colours: Sequence[tuple[int, int, int]], opacity: float = 0.6
) -> np.ndarray:
    """Draws a mask over an image; pixels of value 255 keep the image.

    Args:
        image: uint8 (h, w, 3).
        mask: Class numbers (h, w).
        colours: One (r, g, b) per class.
        opacity: 0 shows the image, 1 the colours.

    Raises:
        InputError: If shapes differ, or a class has no colour.
    """
    if image.shape[:2] != mask.shape:
        raise InputError(f"mask: got shape {mask.shape}; allowed: {image.shape[:2]}, that of the image")
    known = mask != IGNORE
    if known.any() and int(mask[known].max()) >= len(colours):
        raise InputError(f"mask: got class {int(mask[known].max())}; allowed: 0 to {len(colours) - 1}, or 255")
    paint = np.asarray(colours, np.float64)[np.where(known, mask, 0)]
    mixed = (1 - opacity) * image + opacity * paint
    return np.where(known[..., None], mixed, image).round().astype(np.uint8)


def overlay_figure(
    images: Sequence[np.ndarray],
    masks: Mapping[str, Sequence[np.ndarray]],
    classes: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    *,
    opacity: float = 0.6,
) -> go.Figure:
    """Images (rows) and masks drawn over them (columns), with a legend of the classes that occur.

    Args:
        images: uint8 (h, w, 3) each.
        masks: Column title -> one mask (h, w) per image, such as {"truth": ..., "winner": ...}.
        classes: Class names.
        colours: One (r, g, b) per class.
        opacity: Of the masks.
    """
    titles = ["image", *masks] + [""] * (len(images) - 1) * (len(masks) + 1)
    figure = make_subplots(
        len(images), len(masks) + 1, subplot_titles=titles, horizontal_spacing=0.01, vertical_spacing=0.02
    )
    present: set[int] = set()
    for row, image in enumerate(images, start=1):
        figure.add_trace(go.Image(z=image, hoverinfo="skip"), row=row, col=1)
        for column, (name, column_masks) in enumerate(masks.items(), start=2):
            mask = np.asarray(column_masks[row - 1])
            present |= set(np.unique(mask).tolist())
            text = np.array([*classes, "ignored"])[np.where(mask == IGNORE, len(classes), mask)]
            trace = go.Image(
                z=blend(image, mask, colours, opacity), customdata=text[..., None],
                hovertemplate="%{customdata[0]}<extra>" + name + "</extra>",
            )  # fmt: skip
            figure.add_trace(trace, row=row, col=column)
    for index in sorted(present - {IGNORE}):
        marker = {"size": 12, "symbol": "square", "color": "rgb({},{},{})".format(*colours[index])}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=classes[index]))
    layout(figure, height=60 + 190 * len(images), legend=True)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def iou_figure(tables: Mapping[str, pd.DataFrame] | pd.DataFrame) -> go.Figure:
    """Bars of IoU per class; several networks side by side.

    Args:
        tables: `DenseScores.table`, or name -> table.
    """
    tables = {"": tables} if isinstance(tables, pd.DataFrame) else tables
    figure = go.Figure()
    for name, table in tables.items():
        figure.add_trace(go.Bar(x=table["class"], y=table["iou"], name=name))
    figure.update_yaxes(range=[0, 1])
    return layout(figure, title="Intersection over union per class", y="IoU", legend=len(tables) > 1)


def dense_history_figure(history: pd.DataFrame) -> go.Figure:
    """mIoU on the held-out validation images after each epoch, one line per entrant.

    Args:
        history: Columns epoch, val_miou and, for several networks, entrant.
    """
    figure = go.Figure()
    groups = history.groupby("entrant", sort=False) if "entrant" in history else [("", history)]
    for name, part in groups:
        figure.add_trace(go.Scatter(x=part["epoch"], y=part["val_miou"], mode="lines+markers", name=str(name)))
    figure.update_xaxes(dtick=1)
    title = "mIoU on validation images while training"
    return layout(figure, title=title, x="epoch", y="mIoU", legend="entrant" in history)


def agreement_figure(table: pd.DataFrame) -> go.Figure:
    """Kendall's tau of each score with trained mIoU, with its interval.

    Args:
        table: Columns score, tau, low, high.
    """
    ordered = table.sort_values("tau")
    error = {"type": "data", "array": ordered["high"] - ordered["tau"], "arrayminus": ordered["tau"] - ordered["low"]}
    figure = go.Figure(go.Scatter(
        x=ordered["tau"], y=ordered["score"], mode="markers", error_x=error, marker={"color": PALETTE[0], "size": 9},
    ))  # fmt: skip
    figure.add_vline(x=0, line={"dash": "dot", "width": 1})
    return layout(figure, title="Agreement with trained mIoU", x="Kendall's tau (95 % bootstrap)", y="")


def contest_masks(
    run: str | Path, data: str = "bluemarble", *, images: int = 3, root: str | Path | None = None
) -> go.Figure:
    """Masks of every entrant of a contest over test images, from the best weights so far; works while it runs.

    Args:
        run: Run name of `dense_contest`.
        data: Its data set.
        images: How many test images, evenly spaced.
        root: Folder of the data.
    """
    from vintk_kit.segmentation.data import load_pairs
    from vintk_kit.segmentation.predict import predict_mask
    from vintk_kit.segmentation.trainer import load_dense

    pairs = load_pairs(data, root=root, split="test")
    shown = [pairs[index * len(pairs) // images] for index in range(images)]
    masks = {"truth": [mask for _, mask in shown]}
    found = sorted(run_folder(run).glob("contest/*/training/best.safetensors"), key=lambda p: _place(p.parts[-3]))
    for path in found:
        network, facts = load_dense(path)
        masks[path.parts[-3].replace("-", " ")] = [predict_mask(network, image, facts) for image, _ in shown]
    return overlay_figure([image for image, _ in shown], masks, pairs.classes, pairs.colours)


def _place(entrant: str) -> tuple[int, str]:
    return ({"winner": 0, "baseline": 2}.get(entrant, 1), entrant)
