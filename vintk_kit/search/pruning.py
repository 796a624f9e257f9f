"""Pruning: shrink the space by the options whose removal hurts least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vintk_kit.errors import InputError
from vintk_kit.search.base import UNSEEN_TRIES, Setting, Strategy
from vintk_kit.search.encoding import Encoding
from vintk_kit.search.objectives import Evaluation
from vintk_kit.spaces import Architecture


class Pruning(Strategy):
    """The idea of TE-NAS (Chen et al., ICLR 2021) carried to spaces of Transformers.

    TE-NAS starts from a supernet of all operators and drops, edge by edge, the one that matters least.
    A ViT space has no such supernet forward pass, so an option's importance is the mean rank of the scored candidates
    that hold it, among those that still lie in the shrunk space. After each round of `batch` candidates the least
    important options are removed; when every slot has one option left, the space is opened again and the seed moves on.

    Args:
        setting: What every strategy works with.
        batch: Candidates per round.
        remove: Options removed per round; by default so that about twelve rounds leave one architecture.
    """

    def __init__(self, setting: Setting, *, batch: int = 32, remove: int | None = None) -> None:
        super().__init__(setting)
        self.encoding = Encoding(setting.space)
        surplus = sum(len(options) - 1 for options in self.encoding.slots.values())
        self.batch = batch
        self.remove = max(1, -(-surplus // 12)) if remove is None else remove
        if batch < 2 or self.remove < 1:
            raise InputError(f"pruning: got batch={batch}, remove={remove}; allowed: batch >= 2 and remove >= 1")
        self.options: dict[str, tuple[Any, ...]] = dict(self.encoding.slots)
        self._alive: list[tuple[dict[str, Any], Evaluation]] = []

    def ask(self, n: int) -> list[Architecture]:
        """New candidates of the shrunk space; when it is used up, of the whole space."""
        found = self._inside(n)
        if not found:
            self._open_again()
            found = self.random(n)
        return found

    def _inside(self, n: int) -> list[Architecture]:
        found: list[Architecture] = []
        useless = 0
        while len(found) < n and useless < UNSEEN_TRIES:
            architecture = self.encoding.decode(self.encoding.draw(self.rng, self.options))
            if architecture is not None and self.claim(architecture):
                found.append(architecture)
                useless = 0
            else:
                useless += 1
        return found

    def _open_again(self) -> None:
        self.options = dict(self.encoding.slots)
        self._alive = []

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Removes the least important options."""
        self._alive += [(self.encoding.encode(each.architecture), each) for each in evaluations]
        for _ in range(self.remove):
            importance = self.importance()
            if not importance:
                return
            slot, option = min(importance, key=lambda pair: (importance[pair], pair[0], str(pair[1])))
            self.options[slot] = tuple(value for value in self.options[slot] if value != option)
            self._alive = [pair for pair in self._alive if pair[0].get(slot, option) != option or slot not in pair[0]]

    def importance(self) -> dict[tuple[str, Any], float]:
        """Mean rank (0 worst, 1 best) of the candidates alive that hold an option, minus the mean of their slot.

        Options of slots that have one left, and options that no candidate holds, have none.
        """
        order = self.objectives.order([evaluation for _, evaluation in self._alive])
        rank = np.empty(len(order))
        rank[order] = np.linspace(1, 0, len(order))
        result = {}
        for slot, options in self.options.items():
            if len(options) < 2:
                continue
            held = [(code[slot], rank[i]) for i, (code, _) in enumerate(self._alive) if slot in code]
            means = {option: [r for value, r in held if value == option] for option in options}
            filled = {option: float(np.mean(ranks)) for option, ranks in means.items() if ranks}
            if len(filled) > 1:
                centre = float(np.mean(list(filled.values())))
                result.update({(slot, option): mean - centre for option, mean in filled.items()})
        return result
