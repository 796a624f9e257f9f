"""One point of a search space, its text form and its key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vintk_kit.errors import bad_value


@dataclass(frozen=True)
class Architecture:
    """One point of a search space: frozen, hashable, with a JSON form and a key stable between processes.

    Attributes:
        space: Registry name (or spec) of the space, such as `autoformer-tiny`.
        choices: Pairs of field and value in the order of the space; lists are tuples.
    """

    space: str
    choices: tuple[tuple[str, Any], ...]

    @cached_property
    def key(self) -> str:
        """`<space>-<12 hexadecimal digits>`, a digest of the JSON form."""
        digest = hashlib.blake2b(self.to_json().encode(), digest_size=6).hexdigest()
        return f"{self.space.partition('(')[0]}-{digest}"

    def __getitem__(self, name: str) -> Any:
        for field, value in self.choices:
            if field == name:
                return value
        raise bad_value("architecture field", name, [field for field, _ in self.choices])

    def as_dict(self) -> dict[str, Any]:
        """The choices as a dict, per-layer values as lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.choices}

    def to_json(self) -> str:
        """A compact JSON object `{"space": ..., "choices": {...}}`."""
        return json.dumps({"space": self.space, "choices": self.as_dict()}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Reads the form written by `to_json`; the space's `parse` also checks the fields."""
        try:
            record = json.loads(text)
            choices = tuple((name, freeze(value)) for name, value in record["choices"].items())
            return cls(str(record["space"]), choices)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise bad_value("architecture", text, 'JSON {"space": name, "choices": {field: value}}') from error

    def __str__(self) -> str:
        return self.key


def freeze(value: Any) -> Any:
    """Lists become tuples, so that the value can be hashed."""
    return tuple(freeze(item) for item in value) if isinstance(value, (list, tuple)) else value
