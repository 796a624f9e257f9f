"""The plain object that a panel fills and the next cell uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Selection:
    """The architecture picked in a panel.

    Attributes:
        architecture: The `Architecture`, or None before anything was picked.
        row: What the panel knows about it: scores, params, ...
        keys: Keys of the architectures inside the brush; empty without one.
    """

    architecture: Any = None
    row: dict[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    @property
    def key(self) -> str | None:
        """Key of the architecture, or None."""
        return self.row.get("key")

    def pick(self, row: dict[str, Any]) -> None:
        """Takes a row with an `architecture` column (JSON)."""
        from vintk_kit.spaces import Architecture

        text = row["architecture"]
        self.architecture = Architecture.from_json(text) if isinstance(text, str) else text
        self.row = dict(row)

    def require(self) -> Any:
        """The architecture; raises `InputError` asking to pick one."""
        from vintk_kit.errors import InputError

        if self.architecture is None:
            raise InputError("no architecture is selected; click a point or a line of the panel above")
        return self.architecture
