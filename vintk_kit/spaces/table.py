"""A table of choices as a set of architectures: size, uniform sampling, variation, reading and checking."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from vintk_kit.errors import InputError, bad_value
from vintk_kit.spaces.architecture import Architecture, freeze


class ChoiceTable:
    """A set of architectures given by a table of choices, without their networks.

    A field is a scalar, a list of fixed length (`lengths`), or one value per layer (`per_layer`, as many as `depth`
    says). `allowed` can exclude combinations.

    Attributes:
        name: Registry name, or the spec when options differ from the defaults.
        choices: Options of each field.
    """

    name: str = ""
    choices: Mapping[str, tuple[Any, ...]] = {}
    per_layer: tuple[str, ...] = ()
    lengths: Mapping[str, int] = {}

    # ---- the set ------------------------------------------------------------------------------------------------

    def allowed(self, choices: Mapping[str, Any]) -> bool:
        """Whether a combination of table values belongs to the space."""
        return True

    def size(self) -> int:
        """The exact number of architectures."""
        total = sum(self._completions(depth) for depth in self.choices["depth"]) if self.per_layer else 1
        for name, options in self.choices.items():
            if name not in self.per_layer and not (self.per_layer and name == "depth"):
                total *= len(options) ** self.lengths.get(name, 1)
        return total

    def _completions(self, depth: int) -> int:
        return int(np.prod([len(self.choices[name]) ** depth for name in self.per_layer], dtype=object))

    def enumerate(self) -> Iterator[Architecture]:
        """Yields every architecture; meant for small spaces."""
        shared = [name for name in self.choices if name not in self.per_layer]
        for values in product(*(self._values(name, self.lengths.get(name)) for name in shared)):
            fixed = dict(zip(shared, values, strict=True))
            depth = fixed.get("depth")
            for layers in product(*(self._values(name, depth) for name in self.per_layer)):
                found = fixed | dict(zip(self.per_layer, layers, strict=True))
                if self.allowed(found):
                    yield self.freeze_choices(found)

    def _values(self, name: str, length: int | None) -> list[Any]:
        options = self.choices[name]
        return list(options) if length is None else list(product(options, repeat=length))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draws uniformly over the set: depths are weighted by how many architectures each completes to."""
        while True:
            drawn: dict[str, Any] = {}
            if self.per_layer:
                weights = np.array([float(self._completions(depth)) for depth in self.choices["depth"]])
                index = rng.choice(len(weights), p=weights / weights.sum())
                drawn["depth"] = self.choices["depth"][index]
            for name in self.choices:
                if name not in drawn:
                    drawn[name] = self._draw(name, self._length(name, drawn), rng)
            if self.allowed(drawn):
                return self.freeze_choices(drawn)

    def _draw(self, name: str, length: int | None, rng: np.random.Generator) -> Any:
        options = self.choices[name]
        if length is None:
            return options[int(rng.integers(len(options)))]
        return tuple(options[int(index)] for index in rng.integers(len(options), size=length))

    def _length(self, name: str, choices: Mapping[str, Any]) -> int | None:
        return choices["depth"] if name in self.per_layer else self.lengths.get(name)

    def freeze_choices(self, choices: Mapping[str, Any]) -> Architecture:
        """The architecture with these choices, in the order of the table."""
        return Architecture(self.name, tuple((name, freeze(choices[name])) for name in self.choices))

    # ---- variation ----------------------------------------------------------------------------------------------

    def mutate(self, arch: Architecture, rng: np.random.Generator, probability: float = 0.2) -> Architecture:
        """Redraws each choice with the given probability; the result always differs from `arch`.

        Args:
            arch: The parent. A changed depth cuts its layers or draws the missing ones.
            rng: Source of randomness.
            probability: Chance of each choice, in (0, 1].
        """
        if not 0 < probability <= 1:
            raise bad_value("mutation probability", probability, "a number in (0, 1]")
        if self.size() == 1:
            return arch
        inside = self.contains(arch)
        while True:
            child: dict[str, Any] = {}
            for name in sorted(self.choices, key=lambda field: field in self.per_layer):
                length = self._length(name, child)
                old, new = arch[name], self._draw(name, length, rng)
                if length is None:
                    child[name] = new if rng.random() < probability else old
                    continue
                keep = [i < len(old) and rng.random() >= probability for i in range(length)]
                child[name] = tuple(old[i] if keep[i] else new[i] for i in range(length))
            found = self.freeze_choices(child)
            if found != arch and self.contains(found):
                return found
            if not inside:  # a parent outside the table must find its way in
                probability = min(1.0, probability * 1.1)

    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        """Takes each choice from one parent at random; layers only one parent has come from that parent."""
        for _ in range(100):
            child: dict[str, Any] = {}
            for name in sorted(self.choices, key=lambda field: field in self.per_layer):
                length = self._length(name, child)
                if length is None:
                    child[name] = (a, b)[int(rng.integers(2))][name]
                    continue
                picks = rng.integers(2, size=length)
                child[name] = tuple(_either(a[name], b[name], i, int(pick)) for i, pick in enumerate(picks))
            if self.allowed(child):
                return self.freeze_choices(child)
        return a

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """Every architecture one choice away.

        Depth moves to the next smaller or larger option: cutting the last layers, or adding them with every
        combination of their choices, so that the relation is symmetric.
        """
        found = []
        base = dict(arch.choices)
        for name, options in self.choices.items():
            if self.per_layer and name == "depth":
                found += self._depth_neighbours(base)
                continue
            length = self._length(name, base)
            for index in range(1 if length is None else length):
                old = base[name] if length is None else base[name][index]
                for option in (option for option in options if option != old):
                    new = option if length is None else (*base[name][:index], option, *base[name][index + 1 :])
                    found.append(base | {name: new})
        return [other for other in map(self.freeze_choices, found) if self.contains(other)]

    def _depth_neighbours(self, base: dict[str, Any]) -> list[dict[str, Any]]:
        found, depths, depth = [], sorted(self.choices["depth"]), base["depth"]
        smaller, larger = [d for d in depths if d < depth][-1:], [d for d in depths if d > depth][:1]
        for new in smaller:
            found.append(base | {"depth": new} | {name: base[name][:new] for name in self.per_layer})
        for new in larger:
            extra = [product(self.choices[name], repeat=new - depth) for name in self.per_layer]
            for tails in product(*extra):
                layers = {name: base[name] + tail for name, tail in zip(self.per_layer, tails, strict=True)}
                found.append(base | {"depth": new} | layers)
        return found

    # ---- reading and checking -----------------------------------------------------------------------------------

    def architecture(self, **choices: Any) -> Architecture:
        """Builds an architecture from keyword choices and validates it."""
        return self.validate(Architecture(self.name, tuple((k, freeze(v)) for k, v in choices.items())))

    def parse(self, text: str) -> Architecture:
        """Reads an architecture from JSON: the form of `to_json`, or the bare object of choices."""
        try:
            record = json.loads(text)
        except ValueError as error:
            raise bad_value(f"{self.name} architecture", text, "JSON") from error
        if isinstance(record, dict) and "choices" in record:
            return self.validate(Architecture.from_json(text))
        if not isinstance(record, dict):
            raise bad_value(f"{self.name} architecture", text, "a JSON object")
        return self.architecture(**record)

    def validate(self, arch: Architecture) -> Architecture:
        """Returns the architecture in canonical form.

        Values outside the table pass when a network can be built from them (some published subnets are such);
        `contains` tells them apart.

        Raises:
            InputError: Naming the field that is missing, unknown, of the wrong type or length, or not buildable.
        """
        if arch.space != self.name:
            raise bad_value("architecture's space", arch.space, self.name)
        given = dict(arch.choices)
        for name in given:
            if name not in self.choices:
                raise bad_value(f"{self.name} field", name, list(self.choices))
        checked: dict[str, Any] = {}
        for name in sorted(self.choices, key=lambda field: field in self.per_layer):
            if name not in given:
                raise InputError(f"{self.name}: field {name!r} is missing; allowed: {list(self.choices)}")
            checked[name] = self._check_field(name, given[name], self._length(name, checked))
        self.check_buildable(checked)
        return self.freeze_choices(checked)

    def _check_field(self, name: str, value: Any, length: int | None) -> Any:
        if length is None:
            return self._check_value(name, value)
        if not isinstance(value, tuple):
            raise bad_value(f"{self.name} field {name!r}", value, f"a list of {length} values")
        if len(value) != length:
            raise bad_value(f"{self.name} field {name!r}", f"{len(value)} values", f"{length} values")
        return tuple(self._check_value(f"{name}[{index}]", item, name) for index, item in enumerate(value))

    def _check_value(self, label: str, value: Any, name: str | None = None) -> Any:
        options = self.choices[name or label]
        what = f"{self.name} field {label!r}"
        if isinstance(options[0], str):
            if value not in options:
                raise bad_value(what, value, options)
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
            raise bad_value(what, value, f"a positive number such as {', '.join(map(str, options))}")
        if isinstance(options[0], float):
            return float(value)
        if int(value) != value:
            raise bad_value(what, value, f"a whole number such as {', '.join(map(str, options))}")
        return int(value)

    def check_buildable(self, choices: Mapping[str, Any]) -> None:
        """Raises `InputError` when no network exists for the choices; subclasses override."""
        return

    def contains(self, arch: Architecture) -> bool:
        """Whether the architecture lies strictly inside the table."""
        try:
            choices = dict(self.validate(arch).choices)
        except InputError:
            return False
        for name, options in self.choices.items():
            values = choices[name] if isinstance(choices[name], tuple) else (choices[name],)
            if any(value not in options for value in values):
                return False
        return self.allowed(choices)


def _either(a: tuple[Any, ...], b: tuple[Any, ...], index: int, pick: int) -> Any:
    first, second = (a, b) if pick == 0 else (b, a)
    return first[index] if index < len(first) else second[index]
