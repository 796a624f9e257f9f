"""Random search and two evolutionary strategies."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from vintk_kit.errors import InputError
from vintk_kit.search.base import Setting, Strategy
from vintk_kit.search.objectives import Evaluation
from vintk_kit.spaces import Architecture


class RandomSearch(Strategy):
    """Uniform over the window, without repetition. The baseline that every other strategy must beat."""

    batch = 256
    independent = True

    def ask(self, n: int) -> list[Architecture]:
        """n new random architectures."""
        return self.random(n)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learnt."""


class Evolution(Strategy):
    """AutoFormer's evolutionary search (Chen et al., ICCV 2021), its released settings as defaults.

    Each generation holds `mutations` children of single parents, `crossovers` children of two, and new random
    candidates up to `population`; parents are drawn from the best `select` of all generations.

    Args:
        setting: What every strategy works with.
        population: Candidates per generation.
        select: Number of parents kept; by default a fifth of the population.
        crossovers: Children of two parents per generation; by default half of the population.
        mutations: Children of one parent per generation; by default half of the population.
        mutation_probability: Chance of each choice to be drawn anew in a mutation.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        population: int = 50,
        select: int | None = None,
        crossovers: int | None = None,
        mutations: int | None = None,
        mutation_probability: float = 0.2,
    ) -> None:
        super().__init__(setting)
        select = max(1, population // 5) if select is None else select
        crossovers = population // 2 if crossovers is None else crossovers
        mutations = population // 2 if mutations is None else mutations
        if min(population, select) < 1 or min(crossovers, mutations) < 0 or crossovers + mutations > population:
            raise InputError(
                f"evolution: got population={population}, select={select}, crossovers={crossovers}, "
                f"mutations={mutations}; allowed: positive numbers with crossovers + mutations <= population"
            )
        self.batch = population
        self.select, self.crossovers, self.mutations = select, crossovers, mutations
        self.probability = mutation_probability
        self.parents: list[Evaluation] = []

    def ask(self, n: int) -> list[Architecture]:
        """The next generation; the first is random."""
        if not self.parents:
            return self.random(n)
        children = self.fresh(self._mutant, min(n, self.mutations))
        children += self.fresh(self._cross, min(n - len(children), self.crossovers))
        return children + self.random(n - len(children))

    def _parent(self) -> Architecture:
        return self.parents[int(self.rng.integers(len(self.parents)))].architecture

    def _mutant(self) -> Architecture:
        return self.space.mutate(self._parent(), self.rng, self.probability)

    def _cross(self) -> Architecture:
        return self.space.crossover(self._parent(), self._parent(), self.rng)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keeps the best of the old parents and the new generation."""
        self.parents = self.objectives.best([*self.parents, *evaluations], self.select)


class RegularizedEvolution(Strategy):
    """Ageing evolution (Real et al., AAAI 2019): the best of a random sample has a child, the oldest member dies.

    Args:
        setting: What every strategy works with.
        population: Members alive.
        sample: Members that compete to be the parent.
        children: Children per round; 1 is the sequential original, more keep workers busy.
        mutation_probability: Chance of each choice to be drawn anew in a mutation.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        population: int = 50,
        sample: int = 10,
        children: int = 8,
        mutation_probability: float = 0.1,
    ) -> None:
        super().__init__(setting)
        if not 1 <= sample <= population or children < 1:
            raise InputError(
                f"regularized-evolution: got population={population}, sample={sample}, children={children}; "
                "allowed: 1 <= sample <= population and children >= 1"
            )
        self.batch, self.population, self.sample = children, population, sample
        self.probability = mutation_probability
        self.members: deque[Evaluation] = deque(maxlen=population)

    def ask(self, n: int) -> list[Architecture]:
        """Random members until the population is full, then children."""
        if len(self.members) < self.population:
            return self.random(min(n, self.population - len(self.members)))
        return self.fresh(self._child, n) or self.random(n)

    def _child(self) -> Architecture:
        chosen = self.rng.choice(len(self.members), size=self.sample, replace=False)
        rivals = [self.members[i] for i in chosen]
        parent = rivals[self.objectives.order(rivals)[0]].architecture
        return self.space.mutate(parent, self.rng, self.probability)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Adds the new members; as many of the oldest leave."""
        self.members.extend(evaluation for evaluation in evaluations if self.objectives.usable(evaluation))


class LocalSearch(Strategy):
    """Steepest ascent over single-choice changes, with restarts (White et al., 2021).

    Args:
        setting: What every strategy works with.
        starts: Random candidates from which each climb starts.
        batch: Neighbours scored per step; the climb moves on as soon as one of them is better.
    """

    def __init__(self, setting: Setting, *, starts: int = 20, batch: int = 20) -> None:
        super().__init__(setting)
        if min(starts, batch) < 1:
            raise InputError(f"local-search: got starts={starts}, batch={batch}; allowed: positive numbers")
        self.starts, self.batch = starts, batch
        self.current: Evaluation | None = None
        self._neighbours: list[Architecture] = []

    def ask(self, n: int) -> list[Architecture]:
        """Unseen neighbours of the current candidate; on a summit, random starts."""
        found: list[Architecture] = []
        while self._neighbours and len(found) < n:
            neighbour = self._neighbours.pop()
            if self.claim(neighbour):
                found.append(neighbour)
        if found:
            return found
        self.current = None
        return self.random(min(n, self.starts))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Moves to the best candidate if it beats the current one."""
        rivals = [*evaluations] if self.current is None else [self.current, *evaluations]
        best = self.objectives.best(rivals, 1)
        if best and best[0] is not self.current:
            self.current = best[0]
            around = self.space.neighbours(self.current.architecture)
            self._neighbours = [around[i] for i in self.rng.permutation(len(around))]
