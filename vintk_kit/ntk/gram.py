"""From per-sample gradients to an (N, N) kernel: exact, or from a random sketch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vintk_kit.ntk import onednn
from vintk_kit.ntk.sketch import sketched
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

ENOUGH = 16
"""Fewest rows that BLAS multiplies about as fast as twice as many."""

PIECES = 4
"""Into how many products the product of long rows with themselves is divided."""

SHORT = 1 << 12
"""Entries of rows below which dividing costs more than it saves."""

LONG = 1 << 15
"""Entries of rows from which on sparing the lower left of their product is worth another call."""

Pairs = Sequence[tuple[Tensor, Tensor]]


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
        self._tiles: dict[tuple, tuple[Tensor, Tensor, Pairs]] = {}

    def __call__(self, name: str, term: Term) -> None:
        """Adds one parameter's gradients to the matrix of that parameter."""
        if isinstance(term, Windows):
            for row, piece in enumerate(term.pieces):
                self._add(name, piece, f"{name}[{row}]")
        else:
            self._add(name, term, name)

    def _add(self, name: str, term: Outer | Rows, stream: str) -> None:
        if self.sketch and isinstance(term, Outer):
            term = sketched(term, self.sketch, stream, self.seed)
        total = self._outer(term) if isinstance(term, Outer) else self._rows(term.rows)
        total = total.to("cpu", torch.float64)
        self.parts[name] = self.parts[name] + total if name in self.parts else total

    def _rows(self, rows: Tensor) -> Tensor:
        rows, size = self._wide(rows), rows.shape[1]
        if size < SHORT or not divides(rows, size):
            return rows @ rows.T
        pairs = _pairs(_cut(rows, PIECES), upper_rows(len(rows)) if size >= LONG else 0)
        return _joined([part.sum(0) for part in self._gram(pairs)])

    def _wide(self, rows: Tensor) -> Tensor:
        """The same in the precision of the products."""
        return rows if self.dtype is None else rows.to(self.dtype)

    def _gram(self, pairs: Pairs, out: Sequence[Tensor | None] = (None, None)) -> list[Tensor]:
        """Products of the pairs of some pieces, as the parts that `_joined` puts together."""
        return [torch.bmm(a, b, out=found) for (a, b), found in zip(pairs, out, strict=False)]

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
        """Per-sample gradients, one tile of the weight matrix at a time, in a buffer that is used again.

        Products of tiles leave little of anything else in cache: what else is called for each of them costs ten times
        what it costs elsewhere. So there are two calls, and all they need lies ready.
        """
        if right.shape[2] > left.shape[1]:
            left, right = right.transpose(1, 2), left.transpose(1, 2)
        (n, outputs, _), inputs = left.shape, right.shape[2]
        cores, room = division(n, outputs, inputs, threads(left))
        if n * outputs * inputs <= cores * room:  # in one tile, along the longer side, products are faster
            left, right = right.transpose(1, 2), left.transpose(1, 2)
            block = self._take("tile", left, (n, inputs, outputs))
            return self._rows(torch.bmm(left, right, out=block).flatten(1))
        if onednn.in_use():
            return self._by_core(left, right, cores, room)
        height, width = tile(outputs, inputs, max(1, cores * room // n))
        factors = list(itertools.product(left.split(height, 1), right.split(width, 2)))
        pieces = PIECES if divides(left, *(rows.shape[1] * columns.shape[2] for rows, columns in factors)) else 1
        found = self._found(left, len(factors), pieces)
        for (rows, columns), *out in zip(factors, *found, strict=True):
            block, wide, pairs = self._tile(left, rows.shape[1], columns.shape[2], pieces)
            torch.bmm(rows, columns, out=block)
            if wide is not block:
                wide.copy_(block)
            self._gram(pairs, out)
        return _joined([part.sum((0, 1), dtype=torch.float64) for part in found])

    def _tile(self, like: Tensor, height: int, width: int, pieces: int) -> tuple[Tensor, Tensor, Pairs]:
        """A block for one tile of all samples' gradients, one in the precision of the products, and its pairs."""
        key = (like.dtype, len(like), height, width, pieces)
        if key not in self._tiles:
            shape = (len(like), height, width)
            block = wide = self._take("tile", like, shape)
            if self.dtype not in (None, like.dtype):
                wide = self._take("wide", like, shape, self.dtype)
            self._tiles[key] = block, wide, _pairs(_cut(wide.flatten(1), pieces), upper_rows(len(like)))
        return self._tiles[key]

    def _found(self, like: Tensor, tiles: int, pieces: int) -> list[Tensor]:
        """Room for the products of each piece of each tile, (tiles, pieces, ...)."""
        n, upper = len(like), upper_rows(len(like))
        shapes = [(upper, n), (n - upper, n - upper)] if upper else [(n, n)]
        return [self._take(f"found {i}", like, (tiles, pieces, *shape), self.dtype) for i, shape in enumerate(shapes)]

    def _by_core(self, left: Tensor, right: Tensor, cores: int, room: int) -> Tensor:
        """The same for oneDNN, whose products read dense memory only: what is not dense, torch would copy every time.

        A batched product gives each core one stretch of the batch. With the core outermost, the core that fills a tile
        is the one that multiplies it with itself, so that no core reads what lies in the other's cache.
        """
        (n, outputs, _), inputs = left.shape, right.shape[2]
        height, width = tile(-(-outputs // cores), inputs, max(1, room // n))
        columns = [self._copies(i, right[:, :, i : i + width], cores) for i in range(0, inputs, width)]
        starts = range(0, outputs, cores * height)
        found = self._found(left, len(starts) * len(columns), cores)
        products = zip(*found, strict=True)
        for start in starts:
            rows = self._stretches(left[:, start : start + cores * height], cores, height)
            for part in columns:
                block = self._take("tile", left, (cores * n, height, part.shape[2]))
                torch.bmm(rows, part, out=block)
                self._gram(_pairs(self._wide(block.view(cores, n, -1)), upper_rows(n)), next(products))
        return _joined([part.sum((0, 1), dtype=torch.float64) for part in found])

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
            self._tiles.clear()
        return held[:size].view(shape)


def divides(like: Tensor, *sizes: int) -> bool:
    """Whether rows of such sizes are cut into pieces: a long inner dimension is badly divided between threads."""
    return like.device.type == "cpu" and not any(size % PIECES for size in sizes)


def _cut(rows: Tensor, pieces: int) -> Tensor:
    """Rows (N, E) as pieces (pieces, N, E / pieces)."""
    n, size = rows.shape
    return rows.reshape(n, pieces, size // pieces).transpose(0, 1)


def _pairs(pieces: Tensor, upper: int) -> Pairs:
    """Factors of the products that make up the product of each piece (pieces, N, E) with itself."""
    turned = pieces.transpose(1, 2)
    if not upper:
        return [(pieces, turned)]
    return [(pieces[:, :upper], turned), (pieces[:, upper:], turned[:, :, upper:])]


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
