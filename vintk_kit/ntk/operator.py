"""The kernel as a linear map, for batches whose (N, N) matrix or per-sample gradients are too many."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value
from vintk_kit.ntk.engine import check_images
from vintk_kit.ntk.owners import Chooser, Detours, check_mode, chosen
from vintk_kit.ntk.recorder import recording
from vintk_kit.ntk.terms import Term


class KernelOperator:
    """K v without K, for the sum of outputs: u = Σ_j v_j g_j, then (K v)_i = <g_i, u>.

    Two passes over the data per product, each of one forward and one backward by chunks: cost grows linearly in N and
    memory not at all.

    Args:
        network: In eval mode.
        images: (N, ...).
        params: As in `tangent_kernel`.
        chunk: Samples per pass.
        select: As in `tangent_kernel`.

    Raises:
        UnsupportedModuleError: A layer has no rule.
        InputError: Bad arguments, or batch norm in train mode.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        *,
        params: str | Chooser = "weights",
        chunk: int = 64,
        select: Callable[[object], Tensor] | None = None,
    ) -> None:
        check_images(images)
        check_mode(network)
        if chunk < 1:
            raise bad_value("chunk", chunk, "a positive number of samples")
        self.network, self.images, self.select, self.chunk = network, images.detach(), select, chunk
        self.parameters = chosen(network, params)
        self._detours = Detours()

    @property
    def shape(self) -> tuple[int, int]:
        """(N, N)."""
        return len(self.images), len(self.images)

    def _sweep(self, sink: Callable[[slice, str, Term], None]) -> None:
        for start in range(0, len(self.images), self.chunk):
            part = slice(start, min(start + self.chunk, len(self.images)))
            images = self.images[part]
            give = lambda name, term, part=part: sink(part, name, term)  # noqa: E731
            passing = recording(self.network, self.parameters, images, give, self.select, detours=self._detours)
            with passing as (recorder, result):
                result.sum().backward()
                recorder.flush()

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Returns K v, (N,) or, column by column, (N, k), in float64."""
        if vector.shape[0] != len(self.images):
            raise bad_value("vector", tuple(vector.shape), f"({len(self.images)},) or ({len(self.images)}, k)")
        if vector.ndim == 2:
            return torch.stack([self @ column for column in vector.T], 1)
        direction: dict[str, Tensor] = {}

        def collect(part: slice, name: str, term: Term) -> None:
            found = term.weighted_sum(vector[part])
            direction[name] = direction[name] + found if name in direction else found

        result = torch.zeros(len(self.images), dtype=torch.float64, device=self.images.device)

        def contract(part: slice, name: str, term: Term) -> None:
            result[part] += term.products(direction[name]).double()

        self._sweep(collect)
        self._sweep(contract)
        return result
