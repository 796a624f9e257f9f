"""Which scalar of the output a kernel is about: directions in output space, one backward pass each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError, NumericalError, bad_value

OUTPUTS = ("sum", "probes", "trace")
LIMIT = 4096  # of backward passes for the trace


def check_output(output: str | int, probes: int) -> None:
    """Raises `InputError` if `output` is none of "sum", "probes", "trace" or the number of a logit."""
    known = output in OUTPUTS if isinstance(output, str) else isinstance(output, int) and output >= 0
    if not known or isinstance(output, bool):
        raise bad_value("output", output, "sum, probes, trace, or the index of a logit (0, 1, ...)")
    if probes < 1:
        raise bad_value("probes", probes, "a positive number of directions")


def run(network: nn.Module, images: Tensor, select: Callable | None) -> Tensor:
    """Runs a network and returns its one output tensor, (N, ...).

    Raises:
        InputError: The network returns no tensor, or one whose first dimension is not N.
        NumericalError: The output holds NaN or infinity.
    """
    result = network(images)
    if select is not None:
        result = select(result)
    if not isinstance(result, Tensor):
        raise InputError(
            f"{type(network).__name__} returns {type(result).__name__}; a kernel needs one tensor: pass "
            "select=<function>, such as select=lambda out: out[0]"
        )
    if result.ndim == 0 or len(result) != len(images):
        raise InputError(f"output: got shape {tuple(result.shape)}; allowed: (N, ...) with N = {len(images)}")
    if not torch.isfinite(result).all():
        raise NumericalError(f"{type(network).__name__} gives NaN or infinity for these images")
    return result


def directions(result: Tensor, output: str | int, probes: int, seed: int) -> Iterator[tuple[Tensor, float]]:
    """Yields (gradient with respect to the output, weight of its kernel).

    The same direction v is used for every sample, so a dense output (N, C, H, W) is one long vector per sample.
    """
    shape = result.shape[1:]
    if output == "sum":
        yield torch.ones_like(result), 1.0
    elif output == "probes":
        generator = torch.Generator().manual_seed(seed)
        for _ in range(probes):
            signs = torch.randint(0, 2, shape, generator=generator).to(result) * 2 - 1
            yield signs.expand_as(result), 1 / probes
    elif output == "trace":
        size = shape.numel()
        if size > LIMIT:
            raise InputError(f"output: the trace over {size} outputs needs as many backward passes; use 'probes'")
        for index in range(size):
            one = torch.zeros(size, dtype=result.dtype, device=result.device)
            one[index] = 1
            yield one.view(shape).expand_as(result), 1.0
    else:
        if result.ndim < 2 or output >= shape[0]:
            raise bad_value("output", output, f"a logit below {shape[0] if shape else 1}")
        one = torch.zeros_like(result)
        one[:, output] = 1
        yield one, 1.0
