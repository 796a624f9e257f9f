"""What a proxy is, and the value one returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple


class Oriented(NamedTuple):
    """A raw value whose direction depends on options: score = sign * raw."""

    raw: float
    sign: int


@dataclass(frozen=True)
class Proxy:
    """One training-free score.

    Attributes:
        name: Name in `PROXIES` and in spec strings.
        family: Group of proxies in tables: kernel, saliency, activation, attention, geometry, size ...
        function: (candidate, **options) -> raw value, or `Oriented` where the direction depends on the options.
        sign: +1 if a larger raw value is claimed to be better, -1 if a smaller one is; score = sign * raw.
        needs: Subset of {"data", "labels", "gradients"}; without "data" only the shape of the images is used.
        cost: Forward-backward units of one batch, when nothing is shared with another proxy.
        source: Paper and, where implementations differ, which one is followed.
        options: Names and default values.
        allowed: Closed lists of values for some options.
        check: Raises `InputError` for values of options that cannot work together.
    """

    name: str
    family: str
    function: Callable[..., float | Oriented]
    sign: int
    needs: frozenset[str]
    cost: float
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    allowed: Mapping[str, tuple] = field(default_factory=dict)
    check: Callable[[dict[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", frozenset(self.needs))
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        object.__setattr__(self, "allowed", MappingProxyType(dict(self.allowed)))


DATA = frozenset({"data"})
GRADIENTS = frozenset({"gradients"})
DATA_GRADIENTS = frozenset({"data", "gradients"})
ALL_NEEDS = frozenset({"data", "labels", "gradients"})
MODES = ("train", "eval")
"""Batch norm with statistics of the batch ("train", as most released tools run) or running ones ("eval")."""
