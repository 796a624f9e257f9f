"""Hard constraints, and candidates that meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vintk_kit.errors import InputError

if TYPE_CHECKING:
    from vintk_kit.spaces import Architecture, SearchSpace

REJECTION_TRIES = 200
"""Uniform draws before a candidate is walked into the window instead."""

NARROW_TRIES = 5
"""Uniform draws per candidate once the window has proved narrow."""

QUICK_STEPS, MUTATION = 8, 0.1
"""Random changes tried before all neighbours are looked at, and the chance of each choice to change."""

PROBES, WALK_STEPS, RESTARTS = 64, 60, 8


@dataclass(frozen=True)
class Window:
    """Limits that a candidate must keep.

    Attributes:
        params: Smallest and largest number of parameters; None leaves an end open.
        macs: Same for multiply-adds per image.
        latency: Same for the raw value of the `latency` proxy; it is measured while scoring, so a candidate that
            misses it costs its scoring.
    """

    params: tuple[float | None, float | None] = (None, None)
    macs: tuple[float | None, float | None] = (None, None)
    latency: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        for name in ("params", "macs", "latency"):
            low, high = getattr(self, name)
            if low is not None and high is not None and low > high:
                raise InputError(f"{name} window: got minimum {low:g} above maximum {high:g}; allowed: minimum first")

    @property
    def analytic(self) -> tuple[str, ...]:
        """The limited quantities that are known before scoring."""
        return tuple(name for name in ("params", "macs") if getattr(self, name) != (None, None))

    def distance(self, name: str, value: float) -> float:
        """How far a value lies outside its limits, relative to the limit; negative below, positive above, 0 inside."""
        low, high = getattr(self, name)
        if low is not None and value < low:
            return (value - low) / max(abs(low), 1)
        if high is not None and value > high:
            return (value - high) / max(abs(high), 1)
        return 0.0


class Sampler:
    """Draws architectures inside a window.

    Args:
        space: Search space.
        window: Limits.
        sizes: Keyword arguments of `space.params` and `space.macs` (num_classes, image_size).

    Raises:
        InputError: If the window holds no architecture; the message tells the nearest that exist.
    """

    def __init__(self, space: SearchSpace, window: Window, sizes: dict[str, Any]) -> None:
        self.space, self.window, self.sizes = space, window, sizes
        self._tries = REJECTION_TRIES
        if window.analytic:
            self._prove_feasible()

    def cost(self, name: str, architecture: Architecture) -> float:
        """Number of parameters or multiply-adds."""
        return float(getattr(self.space, name)(architecture, **self.sizes))

    def miss(self, architecture: Architecture) -> float:
        """Sum of the distances to the limits; 0 inside."""
        return sum(abs(self.window.distance(name, self.cost(name, architecture))) for name in self.window.analytic)

    def feasible(self, architecture: Architecture) -> bool:
        """Whether the limits known before scoring are kept."""
        return all(self.window.distance(name, self.cost(name, architecture)) == 0 for name in self.window.analytic)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A feasible architecture: uniform by rejection, or, in a narrow window, a random walk into it."""
        for _ in range(self._tries):
            architecture = self.space.sample(rng)
            if self.feasible(architecture):
                return architecture
        self._tries = NARROW_TRIES
        while True:  # ends: the window is known to hold an architecture that walks reach
            architecture = self._walk(self.space.sample(rng), rng)
            if self.feasible(architecture):
                return architecture

    def _walk(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Moves to random neighbours that lie nearer to the window until inside or stuck."""
        miss = self.miss(architecture)
        while miss > 0:
            steps = (self.space.mutate(architecture, rng, MUTATION) for _ in range(QUICK_STEPS))
            quick = next((step for step in steps if self.miss(step) < miss), None)
            if quick is not None:
                architecture, miss = quick, self.miss(quick)
                continue
            neighbours = self.space.neighbours(architecture)
            for i in rng.permutation(len(neighbours)):
                if (closer := self.miss(neighbours[i])) < miss:
                    architecture, miss = neighbours[i], closer
                    break
            else:
                break
        return architecture

    def _prove_feasible(self) -> None:
        rng = np.random.default_rng(0)
        drawn = [self.space.sample(rng) for _ in range(PROBES)]
        drawn.sort(key=self.miss)
        nearest = []
        for start in drawn[:RESTARTS] + drawn[-RESTARTS:]:
            found = self._walk(start, rng)
            if self.feasible(found):
                return
            nearest.append(found)
        raise InputError(self._explain(nearest, rng))

    def _explain(self, nearest: list[Architecture], rng: np.random.Generator) -> str:
        parts = []
        for name in self.window.analytic:
            values = [self.cost(name, architecture) for architecture in nearest]
            low, high = getattr(self.window, name)
            smallest, largest = (self._extreme(name, sign, rng) for sign in (-1, 1))
            below = max((v for v in (*values, smallest, largest) if low is not None and v < low), default=None)
            above = min((v for v in (*values, smallest, largest) if high is not None and v > high), default=None)
            near = " and ".join(f"{v:,.0f}" for v in (below, above) if v is not None)
            parts.append(
                f"{name}: got {_limit(low)} to {_limit(high)}; allowed: a window that holds {near or 'more'} "
                f"(the nearest found); the space spans {smallest:,.0f} to {largest:,.0f}"
            )
        together = "" if len(parts) == 1 else " (each alone may be possible, not together)"
        return f"no architecture of {self.space.name} keeps the limits{together}. " + ". ".join(parts)

    def _extreme(self, name: str, sign: int, rng: np.random.Generator) -> float:
        architecture = self.space.sample(rng)
        value = self.cost(name, architecture)
        for _ in range(WALK_STEPS):
            costs = [(self.cost(name, other), other) for other in self.space.neighbours(architecture)]
            if not costs:
                break
            best = max(costs, key=lambda pair: sign * pair[0])
            if sign * best[0] <= sign * value:
                break
            value, architecture = best
        return value


def _limit(value: float | None) -> str:
    return "any" if value is None else f"{value:,.0f}"
