"""What Fourier features do to images, kernels and scores, computed for one setting at a time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from vintk_kit.plots.kernels import eigenvalue_curves, kernel_figure, montage, radial_power

from .settings import FourierSettings

Report = Callable[[str], None]
PATIENCE = 0.6  # seconds of silence before progress is told: quick updates should not flicker
BLOCKS = "attention+mlp"  # patch embedding and head dominate the whole kernel and hide what the blocks do


@dataclass
class FourierResult:
    """What one setting gives.

    Attributes:
        figure: Spectra, eigenvalues, responses, scores.
        picture: PNG of the probe image and its mapped channels.
        table: Condition number and other statistics, plain and mapped.
        scores: -log10 condition number per architecture, plain and mapped.
        groups: Layer groups of the kernels, joined by "+".
        seconds: Time of the computation.
    """

    figure: go.Figure
    picture: bytes
    table: pd.DataFrame
    scores: pd.DataFrame
    groups: str
    seconds: float


class FourierLab:
    """Computes a `FourierResult` per setting; what does not depend on the setting is computed once, at first use.

    Construction costs nothing, so that a panel can be shown before space, images and kernels are there. Any thread
    may ask; settings asked for twice in a row are computed once.

    Args:
        space: Spec of the space.
        data: Name of the data set the probe batch comes from.
        batch_size: N, images of the probe batch.
        image_size: Side of the images; the space's own by default.
        architectures: The architectures to score; by default `count` samples.
        count: Number of sampled architectures.
        seed: Of the probe batch, the samples and the initial weights.
    """

    def __init__(
        self, space: str, *, data: str, batch_size: int, image_size: int | None, architectures: Any, count: int,
        seed: int,
    ) -> None:  # fmt: skip
        self._space, self._data, self._batch_size, self._side = space, data, batch_size, image_size
        self._given, self._count, self.seed = architectures, count, seed
        self._lock = threading.Lock()
        self._last: tuple[dict, FourierResult] | None = None
        self._networks: dict[int, list] = {}
        self._plain: list | None = None
        self._answer: pd.DataFrame | None = None

    @cached_property
    def space(self) -> Any:
        """The search space."""
        from vintk_kit.spaces import get_space

        return get_space(self._space)

    @cached_property
    def image_size(self) -> int:
        """Side of the images."""
        return self._side or self.space.image_size

    @cached_property
    def images(self) -> Any:
        """The probe batch, (N, 3, H, W)."""
        from vintk_kit.data import probe_batch

        return probe_batch(self._data, n=self._batch_size, image_size=self.image_size, seed=self.seed).images

    @cached_property
    def architectures(self) -> list:
        """The architectures that are scored."""
        rng = np.random.default_rng([self.seed, 17])
        return list(self._given or (self.space.sample(rng) for _ in range(self._count)))

    @cached_property
    def groups(self) -> str:
        """Layer groups of the kernel: those of the blocks, or all of a network that has no such blocks."""
        from vintk_kit.ntk.groups import GROUPS, parameter_group

        network = self._network(0, self.images.shape[1])
        modules = dict(network.named_modules())
        found = {parameter_group(name, modules)[0] for name, _ in network.named_parameters() if "weight" in name}
        return BLOCKS if found.issuperset(BLOCKS.split("+")) else "+".join(g for g in GROUPS if g in found)

    def prepare(self) -> None:
        """Loads space, images and architectures, or raises why it cannot."""
        _ = self.space, self.images, self.architectures

    @property
    def prepared(self) -> bool:
        """Whether space, images and architectures are there."""
        return {"space", "images", "architectures"} <= vars(self).keys()

    def __call__(self, settings: FourierSettings, report: Report = lambda words: None) -> FourierResult:
        """Computes one setting.

        Args:
            settings: What the sliders show.
            report: Told in words what is being computed, once that takes longer than a moment.
        """
        with self._lock:
            if self._last is None or self._last[0] != vars(settings):
                self._last = dict(vars(settings)), self._compute(settings, _patient(report))
            return self._last[1]

    def _compute(self, settings: FourierSettings, report: Report) -> FourierResult:
        began = time.monotonic()
        self.prepare()
        features = settings.features()
        mapped = features(self.images)
        plain_kernels = self._plain_kernels(report)
        mapped_kernels = self._kernels(mapped, report)
        kernels = {"plain": plain_kernels[0], "mapped": mapped_kernels[0]}
        scores = pd.DataFrame({
            "architecture": [chr(ord("A") + index) for index in range(len(self.architectures))],
            "key": [architecture.key for architecture in self.architectures],
            "plain": [_score(kernel) for kernel in plain_kernels],
            "mapped": [_score(kernel) for kernel in mapped_kernels],
        })  # fmt: skip
        report("frequency response")
        before, after = self.images.numpy(), mapped.numpy()
        figure = kernel_figure(
            {"plain": radial_power(before), "mapped": radial_power(after)},
            eigenvalue_curves(kernels), self._response(features, mapped.shape[1]), scores, title=_caption(settings),
        )  # fmt: skip
        table = pd.DataFrame({name: _statistics(kernel) for name, kernel in kernels.items()})
        seconds = time.monotonic() - began
        return FourierResult(figure, montage(before, after), table, scores, self.groups, seconds)

    def _network(self, index: int, channels: int) -> Any:
        """One of the architectures for images of so many channels; kept, so that a moved slider builds nothing."""
        if channels not in self._networks:
            plain = self.images.shape[1]  # besides it only the newest is kept: those of large spaces are large
            self._networks = {plain: self._networks[plain]} if plain in self._networks else {}
            options = {"in_channels": channels, "image_size": self.image_size}
            weights = self.space.supernet(self.seed, **options)
            self._networks[channels] = [
                self.space.build(architecture, weights=weights, **options) for architecture in self.architectures
            ]
        return self._networks[channels][index]

    def _kernels(self, images: Any, report: Report) -> list[np.ndarray]:
        from vintk_kit.ntk import tangent_kernel

        kernels = []
        for index in range(len(self.architectures)):
            report(f"kernel {index + 1} of {len(self.architectures)}")
            network = self._network(index, images.shape[1])
            kernels.append(tangent_kernel(network, images, params=self._chooser(network)).group(self.groups).numpy())
        return kernels

    def _chooser(self, network: Any) -> Any:
        from vintk_kit.ntk import weights_in

        return weights_in(network, self.groups)

    def _plain_kernels(self, report: Report) -> list[np.ndarray]:
        if self._plain is None:
            self._plain = self._kernels(self.images, report)
        return self._plain

    def _response(self, features: Any, channels: int) -> pd.DataFrame:
        """Response of the first architecture's blocks to gratings: the plain network, and it behind the features."""
        if self._answer is None:
            self._answer = self._measure(self._network(0, self.images.shape[1]), "plain")
        mapped = self._measure(self._network(0, channels), "mapped", features)
        return pd.concat([self._answer, mapped], ignore_index=True)

    def _measure(self, network: Any, name: str, features: Any = None) -> pd.DataFrame:
        from vintk_kit.ntk.response import frequency_response

        frequencies = [k for k in (1, 3, 6, 10) if k <= self.image_size // 2]
        choose, inside = self._chooser(network), "" if features is None else "network."
        found = frequency_response(
            network if features is None else _behind(features, network), self.images[:4], frequencies, groups=(),
            params=lambda path, parameter: choose(path.removeprefix(inside), parameter),
        )  # fmt: skip
        return found.assign(group=name)


def _patient(report: Report) -> Report:
    began = time.monotonic()
    return lambda words: report(words) if time.monotonic() - began > PATIENCE else None


def _behind(features: Any, network: Any) -> Any:
    from torch import nn

    class Behind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            return self.network(features(images))

    return Behind().eval()


def _score(kernel: np.ndarray) -> float:
    from vintk_kit.spectrum import condition_number

    value = condition_number(kernel)
    return -math.log10(value) if math.isfinite(value) else math.nan


def _statistics(kernel: np.ndarray) -> dict[str, float]:
    from vintk_kit.spectrum import STATISTICS

    names = ("condition_number", "centred_condition_number", "log_det", "effective_rank", "max_eigenvalue")
    return {name.replace("_", " "): STATISTICS[name][0](kernel) for name in names}


def _caption(settings: FourierSettings) -> str:
    upper = "" if settings.high is None else f" to {settings.high:g}"
    details = {
        "identity": "", "lowpass": f", below {settings.low:g} cycles", "highpass": f", from {settings.low:g} cycles",
        "bandpass": f", {settings.low:g}{upper or ' and more'} cycles",
    }  # fmt: skip
    family = settings.kind.partition("-")[0]
    default = f", {settings.low:g} cycles" if family == "modulate" else f", σ {settings.sigma:.3g}"
    return f"Plain input against {settings.kind}{details.get(settings.kind, default)}"
