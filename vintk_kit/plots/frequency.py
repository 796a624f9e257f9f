"""Figures of the frequency-bias laboratory: frames in, plotly figures out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vintk_kit.plots.template import PALETTE, layout, log_axis


def _log_log(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(log_axis(*(trace.x for trace in figure.data)))
    return figure.update_yaxes(log_axis(*(trace.y for trace in figure.data)))


def eigenvalue_figure(
    spectra: Mapping[str, np.ndarray], *, title: str = "Eigenvalues of the tangent kernel"
) -> go.Figure:
    """Eigenvalue against frequency on log-log axes, one line per kernel; vanishing ones are left out."""
    figure = go.Figure()
    for name, values in spectra.items():
        k = np.arange(1, len(values))
        keep = values[1:] > 1e-13 * np.max(values)
        figure.add_scatter(x=k[keep], y=values[1:][keep], name=name, mode="lines+markers", marker_size=5)
    layout(figure, title=title, x="frequency k", y="eigenvalue λ_k")
    return figure.update_xaxes(type="log").update_yaxes(type="log", exponentformat="power")


def curves_figure(curves: pd.DataFrame, *, title: str = "Error per frequency while training") -> go.Figure:
    """Measured error (solid) and the kernel's prediction (dashed) against time, one colour per frequency."""
    figure = go.Figure()
    for colour, (frequency, part) in zip(PALETTE, curves[curves["time"] > 0].groupby("frequency"), strict=False):
        for column, dash in (("measured", "solid"), ("predicted", "dash")):
            figure.add_scatter(
                x=part["time"].to_numpy(), y=part[column].to_numpy(), name=f"k = {frequency}, {column}",
                mode="lines", line={"dash": dash, "color": colour},
            )  # fmt: skip
    layout(figure, title=title, x="time (learning rate × steps)", y="error left (fraction)")
    return figure.update_xaxes(log_axis(*(trace.x for trace in figure.data)))


def animation_figure(curves: pd.DataFrame, *, moments: int = 30) -> go.Figure:
    """Error per frequency as bars, with a slider and a play button that move through training time."""
    times = np.sort(curves["time"].unique())
    times = times[np.unique(np.linspace(0, len(times) - 1, moments).astype(int))]
    names = [str(k) for k in sorted(curves["frequency"].unique())]
    frames = []
    for time in times:
        part = curves[curves["time"] == time].sort_values("frequency")
        bars = [go.Bar(x=names, y=part[column].to_numpy(), name=column) for column in ("measured", "predicted")]
        frames.append(go.Frame(data=bars, name=f"{time:.3g}"))
    figure = go.Figure(data=frames[0].data, frames=frames)
    layout(figure, title="What is left to learn, by frequency", x="frequency k", y="error left (fraction)")
    step = {"frame": {"duration": 150, "redraw": True}, "mode": "immediate"}
    steps = [{"args": [[frame.name], step], "label": frame.name, "method": "animate"} for frame in frames]
    figure.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": "time "}, "pad": {"t": 45}}],
        updatemenus=[{"type": "buttons", "showactive": False, "x": 1.0, "y": 1.2, "direction": "left",
                      "buttons": [{"label": "Play", "method": "animate", "args": [None, step]}]}],
        height=460,
    )  # fmt: skip
    return figure.update_yaxes(range=[0, 1.1])


def rates_figure(rates: pd.DataFrame) -> go.Figure:
    """Time to learn against frequency, measured and predicted, on log-log axes with the fitted slope."""
    slope, _ = np.polyfit(np.log(rates["frequency"]), -np.log(rates["measured"]), 1)
    figure = go.Figure()
    for column, mode in (("measured", "markers"), ("predicted", "lines")):
        figure.add_scatter(x=rates["frequency"].to_numpy(), y=1 / rates[column].to_numpy(), mode=mode, name=column)
    layout(figure, title=f"Time to learn grows as k^{slope:.2f}", x="frequency k", y="time constant 1/λ_k")
    return _log_log(figure)


def width_figure(deviation: pd.DataFrame, slope: float) -> go.Figure:
    """Distance of the finite network's kernel from the infinite one, by width."""
    figure = go.Figure(
        go.Scatter(x=deviation["width"].to_numpy(), y=deviation["deviation"].to_numpy(), name="measured")
    )
    layout(figure, title=f"The kernel converges as width^{slope:.2f}", x="width", y="relative distance")
    return _log_log(figure)


def density_figure(times: pd.DataFrame) -> go.Figure:
    """Time to learn in the dense and the sparse half of unevenly spread data."""
    figure = go.Figure()
    for region, part in times.groupby("region"):
        figure.add_scatter(x=part["frequency"].to_numpy(), y=part["time"].to_numpy(), name=f"{region} half")
    layout(figure, title="Sparse regions learn later", x="frequency k", y="time to halve the error")
    return _log_log(figure)


def signal_figure(fits: pd.DataFrame) -> go.Figure:
    """Predictions of a 1-D signal by feature scale, beside the target."""
    groups = list(fits.groupby("sigma"))
    errors = [part["test_error"].iloc[0] for _, part in groups]
    titles = [f"σ = {sigma:g}, error {error:.2f}" for (sigma, _), error in zip(groups, errors, strict=True)]
    figure = make_subplots(1, len(groups), subplot_titles=titles, shared_yaxes=True)
    for column, (_, part) in enumerate(groups, start=1):
        for name, colour in (("target", PALETTE[1]), ("prediction", PALETTE[0])):
            figure.add_scatter(
                x=part["x"].to_numpy(), y=part[name].to_numpy(), name=name, mode="lines", line_color=colour,
                showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_annotations(font_size=13)  # of the sub-plots' titles, which else touch the figure's
    return layout(figure, title="One signal, several feature scales").update_layout(margin_t=70)


def images_figure(original: np.ndarray, images: Mapping[float, np.ndarray]) -> go.Figure:
    """The photograph beside what each feature scale has learnt of it."""
    titles = ["photograph", *("plain coordinates" if sigma == 0 else f"σ = {sigma:g}" for sigma in images)]
    figure = make_subplots(1, len(titles), subplot_titles=titles, horizontal_spacing=0.02)
    for column, image in enumerate([original, *images.values()], start=1):
        figure.add_trace(go.Image(z=(255 * image).astype(np.uint8)), row=1, col=column)
    layout(figure, title="A network that maps pixel positions to colours")
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def quality_figure(quality: pd.DataFrame) -> go.Figure:
    """Quality on pixels seen and unseen by feature scale, and the residual's spectrum over training."""
    figure = make_subplots(1, 2, subplot_titles=["after training", "residual power on the way"])
    final = quality[quality["step"] == quality["step"].max()]
    labels = [f"{sigma:g}" for sigma in final["sigma"]]
    for name, colour in (("train_psnr", PALETTE[0]), ("test_psnr", PALETTE[1])):
        label = "pixels seen" if name == "train_psnr" else "pixels unseen"
        figure.add_bar(x=labels, y=final[name].to_numpy(), name=label, marker_color=colour, row=1, col=1)
    first, last = quality["sigma"].min(), quality["sigma"].unique()[len(labels) // 2]
    for sigma, dash in ((first, "solid"), (last, "dash")):
        part = quality[quality["sigma"] == sigma]
        for band, colour in zip(("low", "middle", "high"), PALETTE[2:], strict=False):
            figure.add_scatter(
                x=part["step"].to_numpy(), y=part[band].to_numpy(), name=f"{band}, σ = {sigma:g}",
                line={"dash": dash, "color": colour}, row=1, col=2,
            )  # fmt: skip
    layout(figure, title="Scale decides what is learnt")
    figure.update_xaxes(title="σ", row=1, col=1).update_yaxes(title="PSNR (dB)", row=1, col=1)
    figure.update_xaxes(title="step", type="log", row=1, col=2)
    figure.update_xaxes(type="category", row=1, col=1)
    return figure.update_yaxes(title="residual power", type="log", row=1, col=2)


def bound_figure(checks: pd.DataFrame) -> go.Figure:
    """Learning rate against its bound for every target tried; nothing may lie above the diagonal."""
    figure = go.Figure()
    for kind, part in checks.groupby("kind"):
        figure.add_scattergl(
            x=part["bound"].to_numpy(), y=part["rate"].to_numpy(), mode="markers", name=f"{kind} targets", marker_size=5
        )
    ends = np.array([checks["bound"].min(), checks["bound"].max()])
    figure.add_scatter(x=ends, y=ends, mode="lines", name="rate = bound", line={"dash": "dot"})
    broken = int(checks["violated"].sum())
    layout(figure, title=f"{len(checks):,} trials, {broken} above the bound", x="bound yᵀKy / yᵀy", y="learning rate")
    return figure.update_xaxes(type="log").update_yaxes(type="log")


def response_figure(
    responses: pd.DataFrame, *, by: str = "network", title: str = "What the kernel notices"
) -> go.Figure:
    """Frequency response of the tangent kernel: how far tangent features move when a sinusoid is added.

    Args:
        responses: Columns frequency, response and the one named by `by`; each line is scaled to a maximum of 1.
        by: Column that separates the lines.
        title: Title of the figure.
    """
    figure = go.Figure()
    for name, part in responses.groupby(by, sort=False):
        mean = part.groupby("frequency")["response"].mean()
        figure.add_scatter(
            x=mean.index.to_numpy(), y=(mean / mean.max()).to_numpy(), name=str(name), mode="lines+markers"
        )
    layout(figure, title=title, x="cycles per image", y="response (largest = 1)")
    return figure.update_xaxes(log_axis(*(trace.x for trace in figure.data)))


def spectra_figure(drops: pd.DataFrame, *, by: str = "network") -> go.Figure:
    """Log-amplitude at the highest frequency relative to the lowest, through the depth of networks."""
    figure = go.Figure()
    for name, part in drops.groupby(by, sort=False):
        depth = np.linspace(0, 1, len(part))
        figure.add_scatter(x=depth, y=part["drop"].to_numpy(), name=str(name), mode="lines+markers",
                           text=part["layer"].tolist(), hovertemplate="%{text}: %{y:.2f}")  # fmt: skip
    return layout(figure, title="High frequencies through the depth", x="relative depth", y="Δ log-amplitude at π")
