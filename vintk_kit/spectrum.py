"""Statistics of symmetric positive semi-definite kernels.

All work on an (N, N) matrix, in float64. Singular kernels are ordinary input (duplicate images make one): where a
statistic has no finite value it is `inf` or `-inf`, never a silent large number. NaN or infinite entries raise
`NumericalError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vintk_kit.errors import InputError, NumericalError, one_of

RESOLUTION = torch.finfo(torch.float64).eps  # of an eigenvalue relative to N times the largest


def eigenvalues(kernel: Tensor) -> Tensor:
    """Returns the eigenvalues in ascending order, (N,) float64.

    Raises:
        InputError: The kernel is not a square matrix.
        NumericalError: The kernel holds NaN or infinity.
    """
    kernel = torch.as_tensor(kernel).detach().double().cpu()
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not len(kernel):
        raise InputError(f"kernel: got shape {tuple(kernel.shape)}; allowed: (N, N) with N >= 1")
    if not torch.isfinite(kernel).all():
        raise NumericalError("the kernel holds NaN or infinity")
    return torch.linalg.eigvalsh((kernel + kernel.T) / 2)


def _resolved(values: Tensor) -> Tensor:
    """Sets eigenvalues that float64 cannot tell from zero to zero."""
    floor = len(values) * RESOLUTION * values[-1].abs()
    return torch.where(values.abs() <= floor, 0.0, values)


def centred(kernel: Tensor) -> Tensor:
    """Returns H K H with H = I - 11ᵀ/N: the kernel of gradients from which their mean over samples is taken."""
    kernel = torch.as_tensor(kernel).double()
    kernel = kernel - kernel.mean(0, keepdim=True)
    return kernel - kernel.mean(1, keepdim=True)


def condition_number(kernel: Tensor) -> float:
    """Returns λmax / λmin (TE-NAS, ICLR 2021); `inf` if the kernel is singular or indefinite, 1 for N = 1."""
    values = _resolved(eigenvalues(kernel))
    return float(values[-1] / values[0]) if values[0] > 0 else math.inf


def centred_condition_number(kernel: Tensor) -> float:
    """Returns λ1 / λ(N-1) of the centred kernel, whose smallest eigenvalue is 0 by construction; N = 1: nan."""
    values = eigenvalues(centred(kernel))
    if len(values) == 1:
        return math.nan
    if len(values) == 2:
        return 1.0 if values[-1] > 0 else math.inf
    # The forced zero carries rounding noise, so it is removed by position, and the floor is taken from the rest.
    kept = _resolved(values)[1:]
    return float(kept[-1] / kept[0]) if kept[0] > 0 else math.inf


def log_det(kernel: Tensor) -> float:
    """Returns the sum of log eigenvalues; `-inf` if the kernel is singular."""
    values = _resolved(eigenvalues(kernel))
    return float(values.log().sum()) if values[0] > 0 else -math.inf


def trace(kernel: Tensor) -> float:
    """Returns the sum of squared gradient norms."""
    return float(eigenvalues(kernel).sum())


def nuclear_norm(kernel: Tensor) -> float:
    """Returns Σ √λ, the nuclear norm of the matrix whose rows are the gradients: between the trace and log_det."""
    return float(_resolved(eigenvalues(kernel)).clamp_min(0).sqrt().sum())


def effective_rank(kernel: Tensor) -> float:
    """Returns exp of the entropy of the normalised eigenvalues, between 1 and N; 0 for the zero kernel."""
    values = _resolved(eigenvalues(kernel)).clamp_min(0)
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def min_eigenvalue(kernel: Tensor) -> float:
    """Returns λmin; rounding may leave it slightly negative."""
    return float(eigenvalues(kernel)[0])


def max_eigenvalue(kernel: Tensor) -> float:
    """Returns λmax."""
    return float(eigenvalues(kernel)[-1])


def mean_alignment(kernel: Tensor) -> float:
    """Returns 1ᵀK1 / (N tr K): the share of the kernel that all samples have in common, between 0 and 1."""
    kernel = torch.as_tensor(kernel).double()
    total = trace(kernel)
    return float(kernel.sum() / (len(kernel) * total)) if total > 0 else math.nan


Statistic = Callable[[Tensor], float]

STATISTICS: dict[str, tuple[Statistic, int]] = {
    "condition_number": (condition_number, -1),
    "centred_condition_number": (centred_condition_number, -1),
    "log_det": (log_det, 1),
    "trace": (trace, 1),
    "nuclear_norm": (nuclear_norm, 1),
    "effective_rank": (effective_rank, 1),
    "min_eigenvalue": (min_eigenvalue, 1),
    "max_eigenvalue": (max_eigenvalue, 1),
    "mean_alignment": (mean_alignment, -1),
}
"""Name to (function, sign); sign +1 if more is taken to be better, as the source of the statistic claims."""


def statistic(kernel: Tensor, name: str) -> float:
    """Returns one statistic of `STATISTICS` by name; its sign is not applied."""
    function, _ = STATISTICS[one_of("statistic", name, STATISTICS)]
    return function(kernel)


def is_reliable(kernel: Tensor, limit: float) -> bool:
    """Whether the smallest eigenvalue can be trusted: N >= 2 and the condition number is at most `limit`."""
    return len(kernel) > 1 and condition_number(kernel) <= limit
