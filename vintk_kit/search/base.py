"""The interface of strategies: ask for architectures, tell what they scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vintk_kit.search.objectives import Evaluation, Objectives
from vintk_kit.search.window import Sampler
from vintk_kit.spaces import Architecture, SearchSpace

UNSEEN_TRIES = 150
"""Draws that may be repetitions before a source counts as exhausted."""


@dataclass
class Setting:
    """What every strategy works with.

    Attributes:
        space: Search space.
        sampler: Draws feasible architectures.
        objectives: Order of candidates.
        seed: The search's one seed.
    """

    space: SearchSpace
    sampler: Sampler
    objectives: Objectives
    seed: int


class Strategy(ABC):
    """A way to choose candidates.

    The driver calls `ask(batch)`, scores all of it, calls `tell`, and so on. Batches have a fixed size, so what is
    asked depends on the seed and the scores only, never on the number or the speed of the workers; a resumed search
    asks the same questions again and gets the stored answers.

    Attributes:
        batch: Candidates per round.
        independent: True if `ask` does not depend on `tell`; then rounds need not wait for each other.
    """

    batch: int = 50
    independent: bool = False

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.space, self.sampler, self.objectives = setting.space, setting.sampler, setting.objectives
        self.rng = np.random.default_rng([setting.seed, 7001])
        self._seen: set[int] = set()

    @abstractmethod
    def ask(self, n: int) -> list[Architecture]:
        """At most n architectures, feasible and never asked before; none means that the strategy has run dry."""

    @abstractmethod
    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Takes the scores of asked candidates, in the order they were asked."""

    def fresh(self, draw: Callable[[], Architecture], n: int, tries: int = UNSEEN_TRIES) -> list[Architecture]:
        """Up to n draws that are feasible and new; gives up after `tries` useless draws in a row."""
        found: list[Architecture] = []
        useless = 0
        while len(found) < n and useless < tries:
            architecture = draw()
            if self.claim(architecture):
                found.append(architecture)
                useless = 0
            else:
                useless += 1
        return found

    def claim(self, architecture: Architecture) -> bool:
        """Marks an architecture as asked; False if it was before or is not feasible."""
        mark = int(architecture.key.rsplit("-", 1)[-1], 16)
        if mark in self._seen or not self.sampler.feasible(architecture):
            return False
        self._seen.add(mark)
        return True

    def random(self, n: int) -> list[Architecture]:
        """Up to n new architectures, uniform over the window."""
        return self.fresh(lambda: self.sampler.sample(self.rng), n)
