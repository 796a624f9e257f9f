"""One use of a layer: what went in, and whose gradients are asked for."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError
from vintk_kit.ntk.terms import Term


@dataclass
class Call:
    """One use of a module in the forward pass.

    Attributes:
        module: The module.
        path: Its dotted path.
        samples: N; the first dimension of what passes through is N times something, samples outermost.
        wanted: Names of the module's own parameters whose gradients are asked for.
        args: Positional arguments, detached.
        kwargs: Keyword arguments.
        output: What came out, where the rule compares with it.
        autocast: Low precision that the network runs in, if any.
    """

    module: nn.Module
    path: str
    samples: int
    wanted: Set[str]
    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)
    output: Tensor | None = None
    autocast: torch.dtype | None = None

    def by_sample(self, value: Tensor) -> Tensor:
        """Splits the first dimension, N * k, into (N, k, ...)."""
        if value.ndim == 0 or value.shape[0] % self.samples:
            raise self.unsupported(
                f"its first dimension, {tuple(value.shape)}, is no multiple of the {self.samples} samples, so "
                "per-sample gradients cannot be told apart"
            )
        return value.unflatten(0, (self.samples, value.shape[0] // self.samples))

    def unsupported(self, reason: str) -> UnsupportedModuleError:
        """Returns the error that names this module and says why it cannot be told what its samples' gradients are."""
        return unsupported(self.path, self.module, reason)


def unsupported(path: str, module: nn.Module, reason: str) -> UnsupportedModuleError:
    """Returns the error that names a module and says why the kernel cannot be computed with it."""
    return UnsupportedModuleError(
        f"{type(module).__name__} at {path or 'the root'!r} is not supported by the tangent kernel: {reason}. "
        "Add a rule to vintk_kit.ntk.rules.RULES, or leave its parameters out with params=<function>."
    )


Rule = Callable[[Call, Tensor], dict[str, Term]]
