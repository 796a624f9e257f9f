"""Architectures as flat tables of slots, for strategies that think in independent choices."""

from __future__ import annotations

from typing import Any

import numpy as np

from vintk_kit.spaces import Architecture, SearchSpace


class Encoding:
    """Flattens the choices of a space: a list field becomes one slot per position, `heads` -> `heads[0]`, `heads[1]`...

    Slots of layers beyond an architecture's depth are absent from its code and ignored when decoding.

    Attributes:
        slots: Options per slot name.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.slots: dict[str, tuple[Any, ...]] = {}
        deepest = max(space.choices.get("depth", (0,))) if space.per_layer else 0
        for field, options in space.choices.items():
            length = deepest if field in space.per_layer else space.lengths.get(field)
            for name in self._names(field, length):
                self.slots[name] = tuple(options)

    @staticmethod
    def _names(field: str, length: int | None) -> list[str]:
        return [field] if length is None else [f"{field}[{i}]" for i in range(length)]

    def encode(self, architecture: Architecture) -> dict[str, Any]:
        """Value per slot."""
        code = {}
        for field, value in architecture.choices:
            values = value if isinstance(value, tuple) else (value,)
            names = self._names(field, len(values) if isinstance(value, tuple) else None)
            code.update(zip(names, values, strict=True))
        return code

    def decode(self, code: dict[str, Any]) -> Architecture | None:
        """The architecture of a code that has all slots of its depth; None if the space excludes the combination."""
        choices: dict[str, Any] = {}
        for field in self.space.choices:
            length = code["depth"] if field in self.space.per_layer else self.space.lengths.get(field)
            values = [code[name] for name in self._names(field, length)]
            choices[field] = values[0] if length is None else tuple(values)
        architecture = Architecture(self.space.name, tuple(choices.items()))
        return architecture if self.space.contains(architecture) else None

    def draw(self, rng: np.random.Generator, options: dict[str, tuple[Any, ...]] | None = None) -> dict[str, Any]:
        """A code drawn uniformly per slot, from `options` where given instead of the whole table."""
        table = options or self.slots
        return {name: values[int(rng.integers(len(values)))] for name, values in table.items()}
