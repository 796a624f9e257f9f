"""Scoring a long run does not make the process grow."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from vintk_kit.scoring import score
from vintk_kit.spaces import get_space

CANDIDATES = 500


def resident() -> float:
    """Resident memory of this process, MB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
def test_memory_is_flat_over_500_candidates() -> None:
    """After the first fifth, in which pools and caches fill, the rest may add what the allocator keeps, not more."""
    space, rng = get_space("microvit-32"), np.random.default_rng(0)
    chosen = list({(arch := space.sample(rng)).key: arch for _ in range(CANDIDATES + 20)}.values())[:CANDIDATES]
    marks: list[float] = []
    for place, row in enumerate(score("microvit-32", chosen, "vintk", batch_size=4)):
        assert row["error"] is None
        if place + 1 in (CANDIDATES // 5, CANDIDATES):
            marks.append(resident())
    assert place + 1 == CANDIDATES
    assert marks[1] - marks[0] < 30, marks
