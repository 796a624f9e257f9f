"""float32 matrix products by oneDNN where torch would take BLAS.

torch for x86 multiplies float32 matrices with MKL, whose products of small matrices take 1.5 times as long as oneDNN's
on AMD processors with AVX-512. torch carries both, but hands float32 to oneDNN only there, and only where bfloat16
products are allowed. oneDNN then makes use of that permission on processors with matrix units (AMX), and there alone;
elsewhere it computes in float32.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

ALLOW = "bf16"

_setting = torch.backends.mkldnn.matmul
_lock = threading.Lock()
_users = 0
_before = "none"


@contextmanager
def float32_products() -> Iterator[None]:
    """Lets oneDNN multiply float32 matrices while open, on processors where torch lets it and it stays in float32.

    The setting belongs to the process: other threads are faster meanwhile, too, and as exact. The last to leave puts it
    back.
    """
    global _users, _before
    if not is_useful():
        yield
        return
    with _lock:
        if not _users:
            _before = _setting.fp32_precision
            _setting.fp32_precision = ALLOW
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _setting.fp32_precision = _before


def in_use() -> bool:
    """Whether float32 products go to oneDNN just now."""
    return _users > 0


@lru_cache(maxsize=1)
def is_useful() -> bool:
    """Whether torch hands products to oneDNN on this processor (AVX-512), and oneDNN then keeps float32.

    It does so without matrix units, and where a trial shows no rounding.
    """
    found = torch.cpu.get_capabilities()
    if not torch.backends.mkldnn.is_available() or any(has for name, has in found.items() if name.startswith("amx")):
        return False
    if not all(found.get(f"avx512_{name}") for name in ("bw", "vl", "dq")):
        return False
    with _lock:
        before = _setting.fp32_precision
        _setting.fp32_precision = ALLOW
        try:
            return _keeps_float32()
        finally:
            _setting.fp32_precision = before


def _keeps_float32() -> bool:
    # bfloat16 has 8 bits, tf32 has 11: both round 1 + 2^-12 to 1.
    value, worst = 1 + 2.0**-12, 0.0
    for samples, rows, inner, columns in ((1, 64, 64, 64), (4, 64, 65, 96), (1, 32, 4096, 32), (2, 32, 4096, 32)):
        left, right = torch.full((samples, rows, inner), value), torch.full((samples, inner, columns), value)
        exact = inner * value**2
        for product in (torch.bmm(left, right), left[0] @ right[0]):
            worst = max(worst, float((product.double() - exact).abs().max()) / exact)
    return worst < 1e-5
