"""The result: a kernel, the parts it is the sum of, and how far its small eigenvalues can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vintk_kit.errors import InputError
from vintk_kit.ntk.groups import GROUPS
from vintk_kit.spectrum import condition_number, is_reliable

LIMITS = {torch.float32: 1e5, torch.float64: 1e9, "double": 1e13}
"""Condition numbers up to which λmin is right to about 1 %: by the precision of the Gram products, float32 gradients;
"double" is for gradients in float64 too."""


@dataclass
class TangentKernel:
    """An empirical tangent kernel and its parts.

    Attributes:
        parts: (group, block index or None) to the (N, N) float64 kernel of that part. Their sum is the kernel.
        limit: Condition number beyond which the smallest eigenvalue is not to be trusted.
        output: The scalar of the output that was differentiated.
        sketch: r of the random sketch, or None for the exact kernel.
        passes: Forward-backward units that were spent, for tables of cost.
    """

    parts: dict[tuple[str, int | None], Tensor]
    limit: float = LIMITS[torch.float64]
    output: str | int = "sum"
    sketch: int | None = None
    passes: float = 1.0
    _cache: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def matrix(self) -> Tensor:
        """The whole kernel, (N, N) float64."""
        return self.group("all")

    @property
    def groups(self) -> tuple[str, ...]:
        """The layer groups that the kernel has parts of, in the order of `GROUPS`."""
        present = {group for group, _ in self.parts}
        return tuple(group for group in GROUPS if group in present)

    def _names(self, names: str) -> list[str]:
        wanted = [name.strip() for name in names.split("+")]
        if wanted == ["all"]:
            return list(self.groups)
        missing = [name for name in wanted if name not in self.groups]
        if missing:
            allowed = ", ".join(("all", *self.groups))
            raise InputError(f"groups: got {names!r}; this network has: {allowed} (join several with +)")
        return wanted

    def group(self, names: str) -> Tensor:
        """Returns the kernel of one or several layer groups, (N, N) float64.

        Args:
            names: "all", one of `groups`, or several joined with "+", such as "attention+mlp".

        Raises:
            InputError: A name is not a group of this network.
        """
        if names not in self._cache:
            wanted = self._names(names)
            self._cache[names] = torch.stack([k for (group, _), k in self.parts.items() if group in wanted]).sum(0)
        return self._cache[names]

    def blocks(self, group: str = "all") -> list[tuple[int, Tensor]]:
        """Returns (block index, kernel of the group inside that block), in ascending order."""
        wanted = self._names(group)
        found: dict[int, Tensor] = {}
        for (name, block), kernel in self.parts.items():
            if block is not None and name in wanted:
                found[block] = found[block] + kernel if block in found else kernel
        return sorted(found.items())

    def condition_number(self, names: str = "all") -> float:
        """Returns λmax / λmin of a group."""
        return condition_number(self.group(names))

    def is_reliable(self, names: str = "all") -> bool:
        """Whether the smallest eigenvalue of a group can be trusted; never so for N = 1 or a sketch with r < N."""
        return is_reliable(self.group(names), self.limit)

    @property
    def reliable(self) -> bool:
        """Whether the smallest eigenvalue of the whole kernel can be trusted."""
        return self.is_reliable()

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))
