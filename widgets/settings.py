"""Plain objects that the controls edit. Notebooks and scripts may build them by hand as well."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vintk_kit.errors import InputError, bad_value


@dataclass
class Region:
    """A part of a search space: for every field, the options that remain.

    Attributes:
        space: Spec of the space.
        options: Field to options, a subset of the space's table.
    """

    space: str
    options: dict[str, tuple] = field(default_factory=dict)

    def check(self) -> Region:
        """Returns self; raises `InputError` on an unknown field, option, or an empty choice."""
        table = self._whole().choices
        for name, options in self.options.items():
            if name not in table:
                raise bad_value("field", name, list(table))
            if not options:
                known = ", ".join(map(str, table[name]))
                raise InputError(f"{name}: nothing is chosen; allowed: at least one of {known}")
            for option in options:
                if option not in table[name]:
                    raise bad_value(name, option, table[name])
        return self

    def search_space(self) -> Any:
        """The region as a `SearchSpace`; it shares the initial weights of the whole space."""
        whole = self._whole()
        part = copy.copy(whole)
        part.choices = {name: tuple(self.options.get(name, options)) for name, options in whole.choices.items()}
        if hasattr(whole, "largest"):
            part.largest = whole.largest
        return part

    def size(self) -> int:
        """Number of architectures."""
        return self.check().search_space().size()

    def params_range(self) -> tuple[int, int]:
        """Fewest and most parameters; from 64 samples where the extremes are not the extreme options."""
        space = self.check().search_space()
        try:
            corners = [_corner(space, pick) for pick in (min, max)]
            found = [space.params(corner) for corner in corners]
        except (InputError, TypeError):
            rng = np.random.default_rng(0)
            found = [space.params(space.sample(rng)) for _ in range(64)]
        return min(found), max(found)

    def _whole(self) -> Any:
        from vintk_kit.spaces import get_space

        return get_space(self.space)


def _corner(space: Any, pick: Any) -> Any:
    chosen = {name: pick(options) for name, options in space.choices.items()}
    for name in chosen:
        if name in space.per_layer:
            chosen[name] = (chosen[name],) * chosen["depth"]
        elif name in space.lengths:
            chosen[name] = (chosen[name],) * space.lengths[name]
    return space.architecture(**chosen)


@dataclass
class Limits:
    """What a search may spend: pass it on as `search(..., **vars(limits))`.

    Attributes:
        candidates: Architectures to score.
        min_params: Fewest parameters, or None.
        max_params: Most parameters, or None.
        max_macs: Most multiply-accumulates, or None.
    """

    candidates: int = 60
    min_params: int | None = None
    max_params: int | None = None
    max_macs: int | None = None


@dataclass
class ProxyChoice:
    """Which proxies to compute, as spec strings."""

    specs: list[str] = field(default_factory=lambda: ["vintk", "ntk", "params"])


@dataclass
class FourierSettings:
    """Settings of Fourier features while they are being tuned; `features()` is the frozen object.

    Attributes:
        kind: Name of the mapping.
        sigma: Scale of random frequencies.
        low: Lower edge of the band, cycles per image.
        high: Upper edge, or None for all above.
        num_frequencies: Number of frequencies of channel mappings.
        seed: Of random frequencies.
    """

    kind: str = "bandpass"
    sigma: float = 1.0
    low: float = 2.0
    high: float | None = None
    num_frequencies: int = 4
    seed: int = 0

    def features(self) -> Any:
        """The `FourierFeatures`; raises `InputError` on impossible settings."""
        from vintk_kit.fourier import FourierFeatures

        high = self.high if self.kind == "bandpass" else None  # the other kinds have one edge at most
        return FourierFeatures(**{**vars(self), "high": high})
