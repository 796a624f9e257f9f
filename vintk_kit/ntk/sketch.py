"""A random sketch of a layer's gradients: fewer outputs, mixed by random signs."""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

import torch
from torch import Tensor

from vintk_kit.ntk.terms import Outer

LEAST_ROWS = 8
"""Fewest rows of a sketch, of which there are multiples where they are not r."""

_WINDOWS = 4096  # offsets into the pool of random signs


def sketched(term: Outer, r: int, name: str, seed: int) -> Outer:
    """Returns S g_n for each sample's gradient g_n (O, I), with S of at most r rows, or g_n if that costs no more."""
    n, outputs, tokens = term.left.shape
    inputs = term.right.shape[2]
    rows = sketch_rows(r, outputs, inputs)
    exact, cost = (tokens + n) * outputs * inputs, tokens * rows * (outputs + inputs) + n * rows * inputs
    if rows >= outputs or 1.3 * cost >= exact:  # passes over memory are not counted
        return term
    signs = _signs(rows, outputs, name, seed).to(term.left)
    # As tokens times outputs, so that it is one product and not one per sample.
    return Outer((term.left.transpose(1, 2) @ signs.T).transpose(1, 2), term.right)


def sketch_rows(r: int, outputs: int, inputs: int) -> int:
    """Returns the rows of a layer's sketch: r, or fewer where there are more inputs than outputs.

    It is the outputs that are mixed. What tells samples apart is in the inputs: mixing those instead, where they are
    the longer side, gives ten times the error. With fewer rows it costs the same.
    """
    return r if outputs >= inputs else min(r, -(-r * outputs // (inputs * LEAST_ROWS)) * LEAST_ROWS)


def _signs(rows: int, columns: int, name: str, seed: int) -> Tensor:
    """A window of one random sign matrix per seed; each parameter has its own window."""
    pool = _pool(rows, -(-columns // _WINDOWS) * _WINDOWS, seed)
    start = zlib.crc32(name.encode()) % _WINDOWS
    return pool[:, start : start + columns]


@lru_cache(maxsize=8)
def _pool(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 2, (rows, columns + _WINDOWS), generator=generator) * 2 - 1) / math.sqrt(rows)
