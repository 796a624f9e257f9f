"""NSGA-II and TPE through Optuna's ask and tell; the sampler is always named."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from vintk_kit.errors import InputError, missing_extra
from vintk_kit.search.base import UNSEEN_TRIES, Setting, Strategy
from vintk_kit.search.encoding import Encoding
from vintk_kit.search.objectives import Evaluation
from vintk_kit.spaces import Architecture


class OptunaStrategy(Strategy):
    """Common part: every slot of the space is a categorical parameter of an Optuna study.

    Slots beyond an architecture's depth are drawn but unused. Trials outside the window, excluded by the space or asked
    before are told as failed and drawn again. An ensemble objective needs ranks within one set of candidates, which a
    study that sees one value per trial cannot have, so it is refused.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if any(len(item.columns) > 1 for item in setting.objectives.items):
            raise InputError(
                "objectives: got a rank ensemble with an Optuna strategy; allowed: several objectives instead, "
                "or the strategies evolution, regularized-evolution, local-search, pruning"
            )
        try:
            import optuna
        except ImportError:
            raise missing_extra("optuna", "search") from None
        optuna.logging.set_verbosity(logging.ERROR)
        self.encoding = Encoding(setting.space)
        distribution = optuna.distributions.CategoricalDistribution
        self._distributions = {
            name: distribution(tuple(range(len(options)))) for name, options in self.encoding.slots.items()
        }
        count = len(setting.objectives.items)
        self._failed = optuna.trial.TrialState.FAIL
        self.study = optuna.create_study(directions=["maximize"] * count, sampler=self.sampler_of(optuna))
        self._trials: dict[str, Any] = {}

    def sampler_of(self, optuna: Any) -> Any:
        """The Optuna sampler, seeded."""
        raise NotImplementedError

    def ask(self, n: int) -> list[Architecture]:
        """n new feasible trials; random candidates once the sampler only repeats itself."""
        found: list[Architecture] = []
        useless = 0
        while len(found) < n and useless < UNSEEN_TRIES:
            trial = self.study.ask(self._distributions)
            code = {name: self.encoding.slots[name][index] for name, index in trial.params.items()}
            architecture = self.encoding.decode(code)
            if architecture is not None and self.claim(architecture):
                self._trials[architecture.key] = trial
                found.append(architecture)
                useless = 0
            else:
                self.study.tell(trial, state=self._failed)
                useless += 1
        return found or self._random_trials(n)

    def _random_trials(self, n: int) -> list[Architecture]:
        found = self.random(n)
        for architecture in found:
            code = self.encoding.draw(self.rng) | self.encoding.encode(architecture)
            self.study.enqueue_trial({name: self.encoding.slots[name].index(code[name]) for name in code})
            self._trials[architecture.key] = self.study.ask(self._distributions)
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Tells the study each value, or that the trial failed."""
        for evaluation in evaluations:
            trial = self._trials.pop(evaluation.architecture.key)
            values = self.objectives.matrix([evaluation])[0]
            if np.isfinite(values).all():
                self.study.tell(trial, values.tolist())
            else:
                self.study.tell(trial, state=self._failed)


class NSGA2(OptunaStrategy):
    """NSGA-II (Deb et al., 2002), Optuna's `NSGAIISampler`; meant for two or three objectives.

    Args:
        setting: What every strategy works with.
        population: Candidates per generation.
    """

    def __init__(self, setting: Setting, *, population: int = 50) -> None:
        if population < 2:
            raise InputError(f"nsga2: got population={population}; allowed: at least 2")
        self.batch = population
        super().__init__(setting)

    def sampler_of(self, optuna: Any) -> Any:
        """NSGAIISampler."""
        return optuna.samplers.NSGAIISampler(population_size=self.batch, seed=self.setting.seed)


class TPE(OptunaStrategy):
    """Tree-structured Parzen estimator (Bergstra et al., 2011), Optuna's `TPESampler`, multivariate.

    Its own cost grows with the number of trials, so it is meant for budgets of hundreds to a few thousand.

    Args:
        setting: What every strategy works with.
        startup: Random trials before the model is used.
        batch: Trials asked before the study is told; pending ones count as bad (constant liar).
    """

    def __init__(self, setting: Setting, *, startup: int = 20, batch: int = 8) -> None:
        if min(startup, batch) < 1:
            raise InputError(f"tpe: got startup={startup}, batch={batch}; allowed: positive numbers")
        self.batch, self._startup = batch, startup
        super().__init__(setting)

    def sampler_of(self, optuna: Any) -> Any:
        """TPESampler."""
        options = {"n_startup_trials": self._startup, "multivariate": True, "constant_liar": True}
        return optuna.samplers.TPESampler(seed=self.setting.seed, **options)
