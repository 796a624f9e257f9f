"""Statistics on kernels whose eigenvalues are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vintk_kit import spectrum
from vintk_kit.errors import InputError, NumericalError


def with_eigenvalues(*values: float) -> Tensor:
    torch.manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    return q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T


def test_known_spectrum() -> None:
    kernel = with_eigenvalues(1, 2, 4, 8)
    assert spectrum.condition_number(kernel) == pytest.approx(8)
    assert spectrum.log_det(kernel) == pytest.approx(math.log(64))
    assert spectrum.trace(kernel) == pytest.approx(15)
    assert spectrum.min_eigenvalue(kernel) == pytest.approx(1)
    assert spectrum.max_eigenvalue(kernel) == pytest.approx(8)
    assert spectrum.effective_rank(torch.eye(5)) == pytest.approx(5)
    for name in spectrum.STATISTICS:
        assert math.isfinite(spectrum.statistic(kernel, name))


def test_singular_kernels_say_so() -> None:
    kernel = torch.ones(4, 4)
    assert spectrum.condition_number(kernel) == math.inf
    assert spectrum.log_det(kernel) == -math.inf
    assert spectrum.effective_rank(kernel) == pytest.approx(1)
    assert spectrum.mean_alignment(kernel) == pytest.approx(1)
    assert spectrum.effective_rank(torch.zeros(3, 3)) == 0
    assert not spectrum.is_reliable(kernel, 1e9)


def test_centring_removes_the_mean() -> None:
    kernel = with_eigenvalues(1, 2, 4, 8)
    assert spectrum.centred(kernel).sum(0).abs().max() < 1e-12
    shifted = spectrum.centred_condition_number(kernel + 100)
    assert shifted == pytest.approx(spectrum.centred_condition_number(kernel))


def test_one_sample() -> None:
    assert spectrum.condition_number(torch.ones(1, 1)) == 1
    assert math.isnan(spectrum.centred_condition_number(torch.ones(1, 1)))
    assert not spectrum.is_reliable(torch.ones(1, 1), 1e9)


def test_errors() -> None:
    with pytest.raises(NumericalError):
        spectrum.trace(torch.full((2, 2), torch.nan))
    with pytest.raises(InputError, match=r"\(N, N\)"):
        spectrum.trace(torch.ones(2, 3))
    with pytest.raises(InputError, match="condition_number"):
        spectrum.statistic(torch.eye(2), "kappa")
