"""How far the tangent features of a network move when its input is shaken at one frequency."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value
from vintk_kit.ntk.engine import check_images, grouped, one_pass
from vintk_kit.ntk.kernel import TangentKernel
from vintk_kit.ntk.owners import Chooser, Detours, check_mode, chosen
from vintk_kit.ntk.terms import Outer, Term, Windows

ENTRIES = 1 << 20
"""Most numbers in a block of per-sample gradients."""


def frequency_response(
    network: nn.Module,
    images: Tensor,
    frequencies: Sequence[float],
    *,
    groups: Sequence[str] | None = None,
    amplitude: float = 0.1,
    params: str | Chooser = "weights",
    seed: int = 0,
    relative: bool = True,
    block_size: int = 64,
) -> pd.DataFrame:
    """Measures the response of the tangent features φ(x) = ∂f(x)/∂θ to sinusoids of radial frequency k.

    For each image, ||φ(x + d) - φ(x)||² = K(x+d, x+d) - 2 K(x, x+d) + K(x, x), where d is a plane wave of k cycles per
    image in a random direction and phase, equal in all channels, of root mean square `amplitude` (also on the pixel
    grid, so a frequency beyond what the grid resolves is folded back).

    Args:
        network: In eval mode; layers as for `tangent_kernel`.
        images: (N, c, H, W).
        frequencies: k, in cycles per image.
        groups: Layer groups (such as "attention" or "attention+mlp"), besides "all"; by default all it has.
        amplitude: Root mean square of d, in units of the images; small against their deviation.
        params: As in `tangent_kernel`.
        seed: Of directions and phases.
        relative: Divides by the mean over the batch of K(x, x) of the group; otherwise by nothing.
        block_size: Most images per pass, but at least the batch twice: as many frequencies share a pass as fit.

    Returns:
        Columns frequency, group, response: the mean over the batch, one row per frequency and group. The same waves'
        directions serve all frequencies, so that rows differ by frequency only.

    Raises:
        InputError: Bad images, frequency or amplitude.

    Cost: one forward-backward of N (1 + F) images for F frequencies; no N x N kernel is formed.
    """
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise bad_value("images", tuple(images.shape), "shape (N, channels, height, width)")
    if not amplitude > 0:
        raise bad_value("amplitude", amplitude, "a positive number")
    for frequency in frequencies:
        if not frequency >= 0:
            raise bad_value("frequencies", frequency, "numbers from 0 up, in cycles per image")
    check_images(images, block_size=block_size)
    check_mode(network)
    parameters = chosen(network, params)
    n = len(images)
    rng = np.random.default_rng([seed, 17])
    angles, phases = rng.uniform(0, math.pi, n), rng.uniform(0, 2 * math.pi, n)
    rows, detours = [], Detours()
    for part in _parts(list(map(float, frequencies)), max(1, block_size // n - 1)):
        shaken = [images + amplitude * waves(images, frequency, angles, phases) for frequency in part]
        settings = {"output": "sum", "probes": 1, "seed": 0, "select": None, "autocast": None}
        settings["detours"] = detours
        found = grouped(network, one_pass(network, parameters, torch.cat([images, *shaken]), Moves(n), **settings))
        moved = TangentKernel(found)
        for name in ("all", *(moved.groups if groups is None else groups)):
            size, *squares = moved.group(name).mean(1).tolist()
            rows += [(k, name, square / size if relative else square) for k, square in zip(part, squares, strict=True)]
    frame = pd.DataFrame(rows, columns=["frequency", "group", "response"])
    return frame.sort_values("frequency", kind="stable", ignore_index=True)


def _parts(values: list[float], size: int) -> Iterator[list[float]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def waves(images: Tensor, frequency: float, angles: np.ndarray, phases: np.ndarray) -> Tensor:
    """Plane waves of one radial frequency with root mean square 1 on the grid, (N, 1, H, W)."""
    height, width = images.shape[-2:]
    down, right = np.arange(height)[:, None] / height, np.arange(width)[None, :] / width
    across = np.sin(angles)[:, None, None] * down + np.cos(angles)[:, None, None] * right
    wave = np.cos(2 * math.pi * frequency * across + phases[:, None, None])
    size = np.sqrt((wave**2).mean((1, 2), keepdims=True))
    return torch.as_tensor(wave / np.maximum(size, 1e-6))[:, None].to(images)


class Moves:
    """Sums over parameters, for samples x then copies x + d: row 0 is ||φ(x)||², row j is ||φ(x + d_j) - φ(x)||².

    Args:
        samples: N, of one copy.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.parts: dict[str, Tensor] = {}

    def __call__(self, name: str, term: Term) -> None:
        """Takes one parameter's gradients."""
        if isinstance(term, Windows):
            for piece in term.pieces:
                self(name, piece)
            return
        if isinstance(term, Outer):
            tokens, outputs, inputs = term.left.shape[2], term.left.shape[1], term.right.shape[2]
            ghost = 6 * tokens**2 * (outputs + inputs) < (tokens + 20) * outputs * inputs
            found = self._ghost(term.left, term.right) if ghost else self._tiles(term.left, term.right)
        else:
            found = self._squares(term.rows)
        self.parts[name] = self.parts[name] + found if name in self.parts else found

    def _squares(self, rows: Tensor) -> Tensor:
        copies = rows.view(-1, self.samples, rows.shape[1])
        return torch.cat([copies[:1], copies[1:] - copies[:1]]).double().square().sum(2)

    def _tiles(self, left: Tensor, right: Tensor) -> Tensor:
        height = max(1, ENTRIES // (len(left) * right.shape[2]))
        parts = (torch.bmm(rows, right).flatten(1) for rows in left.split(height, 1))
        return sum(map(self._squares, parts))

    def _ghost(self, left: Tensor, right: Tensor) -> Tensor:
        """The same from products of tokens, Σ_ts (a_t · a_s)(b_t · b_s): no gradient is ever formed."""
        n, tokens = self.samples, left.shape[2]
        pair = right.double(), left.double().transpose(1, 2)
        own = math.prod(torch.bmm(x, x.transpose(1, 2)) for x in pair).sum((1, 2)).view(-1, n)
        copies = len(own) - 1

        def against_first(x: Tensor) -> Tensor:
            rest = x[n:].reshape(copies, n, tokens, -1).transpose(0, 1).reshape(n, copies * tokens, -1)
            return torch.bmm(x[:n], rest.transpose(1, 2)).view(n, tokens, copies, tokens)

        cross = math.prod(map(against_first, pair)).sum((1, 3)).T
        return torch.cat([own[:1], (own[1:] - 2 * cross + own[0]).clamp_min(0)])
