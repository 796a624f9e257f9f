"""From per-sample gradients to an (N, N) kernel: exact, or from a random sketch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from vintk_kit.ntk.terms import Outer, Rows, Term, Windows

BUFFER = 1 << 19
"""Entries of one core's block of per-sample gradients for up to 32 samples: 2 MB in float32, which stay in cache."""

PER_SAMPLE = 1 << 14
"""Entries of each sample's part of such a block, however many samples there are: flatter tiles cost more than cache."""

MOST = 1 << 22
"""Entries of such a block that are not exceeded for many samples."""

TILE_WIDTH = 320
"""Most columns of such a block."""

NARROW = 64
"""Most columns of a matrix that is not divided between cores, and fewest rows of what a core gets."""

ENOUGH = 32
"""Fewest rows that BLAS multiplies about as fast as twice as many."""

LEAST_ROWS = 8
"""Fewest rows of a sketch, of which there are multiples where they are not r."""

PIECES = 4
"""Into how many products the product of long rows with themselves is divided."""

_WINDOWS = 4096  # offsets into the pool of random signs


class Gram:
    """Adds G Gᵀ for each parameter into one (N, N) float64 matrix per key.

    Args:
        samples: N.
        dtype: Precision of the products inside one block; sums over blocks are always float64.
        sketch: None for the exact kernel, or r: the output gradients of a Linear or Conv layer are first multiplied by
            a seeded random sign matrix with at most r rows, E[SᵀS] = I, where that spares work.
        seed: Seed of the sketch.
    """

    def __init__(self, samples: int, dtype: torch.dtype | None, sketch: int | None = None, seed: int = 0) -> None:
        self.samples, self.dtype, self.sketch, self.seed = samples, dtype, sketch, seed
        self.parts: dict[str, Tensor] = {}
        self._memory: dict[str, Tensor] = {}

    def __call__(self, name: str, term: Term) -> None:
        """Adds one parameter's gradients to the matrix of that parameter."""
        if isinstance(term, Windows):
            for row, piece in enumerate(term.pieces):
                self._add(name, piece, f"{name}[{row}]")
        else:
            self._add(name, term, name)

    def _add(self, name: str, term: Outer | Rows, stream: str) -> None:
        if self.sketch and isinstance(term, Outer):
            term = self._sketched(stream, term)
        total = self._outer(term) if isinstance(term, Outer) else self._rows(term.rows)
        total = total.to("cpu", torch.float64)
        self.parts[name] = self.parts[name] + total if name in self.parts else total

    def _sketched(self, name: str, term: Outer) -> Outer:
        n, outputs, tokens = term.left.shape
        inputs = term.right.shape[2]
        r = sketch_rows(self.sketch, outputs, inputs)
        exact, sketched = (tokens + n) * outputs * inputs, tokens * r * (outputs + inputs) + n * r * inputs
        if r >= outputs or 1.3 * sketched >= exact:  # passes over memory are not counted
            return term
        signs = _signs(r, outputs, name, self.seed).to(term.left)
        # As tokens times outputs, so that it is one product and not one per sample.
        return Outer((term.left.transpose(1, 2) @ signs.T).transpose(1, 2), term.right)

    def _rows(self, rows: Tensor) -> Tensor:
        n, size = rows.shape
        if rows.device.type != "cpu" or size % PIECES or size < 1024 * PIECES:
            return _joined([part[0] for part in self._gram(rows.unsqueeze(0))])
        # A long inner dimension is badly divided between threads; a batch of pieces is divided well.
        parts = self._gram(rows.reshape(n, PIECES, size // PIECES).transpose(0, 1))
        return _joined([part.sum(0) for part in parts])

    def _gram(self, rows: Tensor, out: Sequence[Tensor] = ()) -> list[Tensor]:
        """Products of each piece with itself from (pieces, N, entries): the parts that `_joined` puts together."""
        rows = rows if self.dtype is None else rows.to(self.dtype)
        upper = upper_rows(rows.shape[1])
        pairs = [(rows[:, :upper], rows), (rows[:, upper:], rows[:, upper:])] if upper else [(rows, rows)]
        return [_product(a, b, out[i] if out else None) for i, (a, b) in enumerate(pairs)]

    def _outer(self, term: Outer) -> Tensor:
        left, right = term.left, term.right
        n, outputs, tokens = left.shape
        inputs = right.shape[2]
        if tokens == 1:
            return self._rows(left[:, :, 0]) * self._rows(right[:, 0])
        if ghost_is_cheaper(n, tokens, outputs, inputs):
            return self._ghost(left, right)
        return self._explicit(left, right)

    def _ghost(self, left: Tensor, right: Tensor) -> Tensor:
        """Σ_ts (a_it · a_js)(b_it · b_js): no gradient is ever formed. Rows of blocks from the diagonal on."""
        n, outputs, tokens = left.shape
        dtype = self.dtype or left.dtype
        a = right.to(dtype).reshape(n * tokens, -1)
        b = left.transpose(1, 2).to(dtype).reshape(n * tokens, outputs)
        total = torch.zeros(n, n, dtype=torch.float64, device=left.device)
        step = max(1, min(-(-n // 3), 2 * BUFFER // (n * tokens * tokens)))
        for start in range(0, n, step):
            rows, rest = slice(start * tokens, (start + step) * tokens), slice(start * tokens, None)
            product = (a[rows] @ a[rest].T).mul_(b[rows] @ b[rest].T)
            width = n - start
            block = product.view(-1, tokens, width * tokens).sum(1).view(-1, width, tokens).sum(2)
            stop = start + step
            total[start:stop, start:] = block
            total[start:, start:stop] = block.T
        return (total + total.T).div_(2)

    def _explicit(self, left: Tensor, right: Tensor) -> Tensor:
        """Per-sample gradients, one tile of the weight matrix per core at a time, in a buffer that is used again.

        A batched product gives each core one stretch of the batch. With the core outermost, the core that fills a tile
        is the one that multiplies it with itself, so that no core reads what lies in the other's cache.
        """
        if right.shape[2] > left.shape[1]:
            left, right = right.transpose(1, 2), left.transpose(1, 2)
        (n, outputs, _), inputs = left.shape, right.shape[2]
        cores, room = division(n, outputs, inputs, threads(left))
        if cores == 1 and n * outputs * inputs <= room:
            return self._whole(left, right)
        height, width = tile(-(-outputs // cores), inputs, max(1, room // n))
        columns = [self._copies(i, right[:, :, i : i + width], cores) for i in range(0, inputs, width)]
        starts = range(0, outputs, cores * height)
        upper, tiles = upper_rows(n), len(starts) * len(columns)
        shapes = [(upper, n), (n - upper, n - upper)] if upper else [(n, n)]
        found = [self._take(f"found {i}", left, (tiles, cores, *shape), self.dtype) for i, shape in enumerate(shapes)]
        products = zip(*found, strict=True)
        for start in starts:
            rows = self._stretches(left[:, start : start + cores * height], cores, height)
            for part in columns:
                block = self._take("tile", left, (cores * n, height, part.shape[2]))
                torch.bmm(rows, part, out=block)
                self._gram(block.view(cores, n, -1), next(products))
        return _joined([part.sum((0, 1), dtype=torch.float64) for part in found])

    def _whole(self, left: Tensor, right: Tensor) -> Tensor:
        """The same in one tile; products run faster along the longer side."""
        left, right = right.transpose(1, 2), left.transpose(1, 2)
        block = self._take("tile", left, (len(left), left.shape[1], right.shape[2]))
        return self._rows(torch.bmm(left, right, out=block).flatten(1))

    def _copies(self, key: int, part: Tensor, cores: int) -> Tensor:
        """The same (N, T, w) for each core, dense, (cores * N, T, w)."""
        if cores == 1 and (part.is_contiguous() or part.transpose(1, 2).is_contiguous()):
            return part
        dense = self._like(f"right {key}", part, (cores, *part.shape))
        return dense.copy_(part).flatten(0, 1)

    def _stretches(self, part: Tensor, cores: int, height: int) -> Tensor:
        """(N, cores * height, T) to (cores * N, height, T), dense; zeros where there are fewer rows."""
        n, outputs, tokens = part.shape
        if cores == 1 and outputs == height and (part.is_contiguous() or part.transpose(1, 2).is_contiguous()):
            return part
        dense = self._like("left", part, (cores, n, height, tokens))
        if outputs == cores * height:
            dense.copy_(part.unflatten(1, (cores, height)).transpose(0, 1))
        else:
            dense.zero_()
            for core, rows in enumerate(part.split(height, 1)):
                dense[core, :, : rows.shape[1]] = rows
        return dense.flatten(0, 1)

    def _like(self, key: str, part: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """Memory for copies of a (N, a, b), in the order in which a and b lie in memory."""
        if part.stride(1) == 1:
            first, second, a, b = shape
            return self._take(key, part, (first, second, b, a)).transpose(2, 3)
        return self._take(key, part, shape)

    def _take(self, key: str, like: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        """A piece of memory that is kept for the next one who asks for the same key."""
        size, held, dtype = math.prod(shape), self._memory.get(key), dtype or like.dtype
        if held is None or len(held) < size or held.dtype != dtype:
            held = self._memory[key] = torch.empty(size, dtype=dtype, device=like.device)
        return held[:size].view(shape)


def _product(a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
    """a bᵀ for each piece."""
    if len(a) == 1:
        return torch.mm(a[0], b[0].T, out=None if out is None else out[0]).unsqueeze(0)
    return torch.bmm(a, b.transpose(1, 2), out=out)


def _joined(parts: list[Tensor]) -> Tensor:
    """The (N, N) matrix from its upper rows (h, N) and its lower right (N - h, N - h), or from itself."""
    if len(parts) == 1:
        return parts[0]
    upper, lower = parts
    return torch.cat([upper, torch.cat([upper[:, len(upper) :].T, lower], 1)])


def upper_rows(n: int) -> int:
    """Returns how many rows are multiplied with all, which spares the lower left; 0 where fewer rows cost more."""
    return n // 2 if n >= 2 * ENOUGH else 0


def threads(like: Tensor) -> int:
    """How many threads work on a product of such tensors."""
    return torch.get_num_threads() if like.device.type == "cpu" else 1


def division(n: int, outputs: int, inputs: int, threads: int) -> tuple[int, int]:
    """Returns how many cores get tiles of their own, and the entries that a tile may have.

    A tile costs copies of its factors, which pay only if each copied number is used often: not for a matrix that is
    small, or narrow. Of a narrow one, several tiles' room is used at once.
    """
    cores = min(threads, max(1, outputs // NARROW))
    if inputs <= NARROW:
        return 1, 8 * BUFFER
    room = min(max(BUFFER, n * PER_SAMPLE), MOST)
    return (1 if n * outputs * inputs <= BUFFER // 2 else cores), room


def tile(outputs: int, inputs: int, room: int) -> tuple[int, int]:
    """Returns rows and columns of a tile of at most about `room` entries.

    BLAS packs both factors of a product for every tile, which flat tiles repeat more often than square ones. The Gram
    product then reads all samples side by side: were their tiles a multiple of 4 KiB apart, all would fall into one set
    of the cache and evict each other.
    """
    width = -(-inputs // -(-inputs // TILE_WIDTH))
    width = min(inputs, -(-width // 16) * 16)
    height = min(outputs, max(1, room // width))
    height = -(-outputs // -(-outputs // height))
    return height + (height < outputs and height * width % 1024 == 0), width


def ghost_is_cheaper(n: int, tokens: int, outputs: int, inputs: int) -> bool:
    """Whether N²T²(O + I) products cost less than forming the gradients, N T O I, and their Gram, N² O I."""
    explicit = 2 * n * tokens * outputs * inputs + 2 * n * n * outputs * inputs
    # Symmetry spares a third of the ghost form; passing over its N²T² products twice costs about 40 products each.
    ghost = n * n * tokens * tokens * (2 * 0.67 * (outputs + inputs) + 80)
    return ghost < explicit


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
