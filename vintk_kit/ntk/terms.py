"""Per-sample gradients of one parameter, kept in the form that is cheapest to use.

Letters: N samples, T tokens (or pixels, or windows times tokens), O outputs, I inputs, P = number of entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Outer:
    """Sample n's gradient is left[n] @ right[n], of shape (O, I).

    Attributes:
        left: Gradients with respect to the layer's output, (N, O, T).
        right: Inputs of the layer, (N, T, I).
    """

    left: Tensor
    right: Tensor

    @property
    def samples(self) -> int:
        """N."""
        return len(self.left)

    def merge(self, other: Term) -> Term:
        """Adds another use of the same parameter: longer sums over tokens."""
        if not isinstance(other, Outer):
            return Rows(_flat(self) + _flat(other))
        return Outer(torch.cat([self.left, other.left], 2), torch.cat([self.right, other.right], 1))

    def dense(self) -> Tensor:
        """The gradients themselves, (N, O, I)."""
        return torch.bmm(self.left, self.right)

    def weighted_sum(self, vector: Tensor) -> Tensor:
        """Σ_n v_n g_n, (O, I)."""
        left = self.left * vector.to(self.left)[:, None, None]
        return torch.mm(left.transpose(0, 1).flatten(1), self.right.flatten(0, 1))

    def products(self, direction: Tensor) -> Tensor:
        """<g_n, u> for each sample, (N,)."""
        return ((direction.T @ self.left).transpose(1, 2) * self.right).sum((1, 2))


@dataclass
class Windows:
    """The gradient of a sliding window's weight, (O, I, kh, kw), as one `Outer` per row of the window.

    Attributes:
        pieces: kh of them, each of (O, kw I) entries.
        inputs: I.
    """

    pieces: list[Outer]
    inputs: int

    @property
    def samples(self) -> int:
        """N."""
        return self.pieces[0].samples

    def merge(self, other: Term) -> Term:
        """Adds another use of the same parameter."""
        if not isinstance(other, Windows):
            return Rows(_flat(self) + _flat(other))
        return Windows([a.merge(b) for a, b in zip(self.pieces, other.pieces, strict=True)], self.inputs)

    def dense(self) -> Tensor:
        """The gradients themselves, (N, O, I, kh, kw)."""
        rows = torch.stack([piece.dense() for piece in self.pieces], 1)
        return rows.unflatten(3, (-1, self.inputs)).permute(0, 2, 4, 1, 3)

    def weighted_sum(self, vector: Tensor) -> Tensor:
        """Σ_n v_n g_n, (kh, O, kw I)."""
        return torch.stack([piece.weighted_sum(vector) for piece in self.pieces])

    def products(self, direction: Tensor) -> Tensor:
        """<g_n, u> for each sample, (N,)."""
        return sum(piece.products(part) for piece, part in zip(self.pieces, direction, strict=True))


@dataclass
class Rows:
    """Sample n's gradient is rows[n], flattened, (N, P)."""

    rows: Tensor

    @property
    def samples(self) -> int:
        """N."""
        return len(self.rows)

    def merge(self, other: Term) -> Term:
        """Adds another use of the same parameter."""
        return Rows(self.rows + _flat(other))

    def weighted_sum(self, vector: Tensor) -> Tensor:
        """Σ_n v_n g_n, (P,)."""
        return vector.to(self.rows) @ self.rows

    def products(self, direction: Tensor) -> Tensor:
        """<g_n, u> for each sample, (N,)."""
        return self.rows @ direction


Term = Outer | Windows | Rows


def _flat(term: Term) -> Tensor:
    return term.rows if isinstance(term, Rows) else term.dense().flatten(1)
