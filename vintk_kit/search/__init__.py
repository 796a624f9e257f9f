"""Search: a strategy asks for architectures, the scorer answers, the store keeps everything."""

from __future__ import annotations

import inspect
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vintk_kit.errors import InputError, bad_value, one_of
from vintk_kit.manifest import bind_parameters
from vintk_kit.paths import run_folder
from vintk_kit.scoring.job import Job, load_plugins, make_job
from vintk_kit.scoring.scorer import Scorer
from vintk_kit.search.base import Setting, Strategy
from vintk_kit.search.evolution import Evolution, LocalSearch, RandomSearch, RegularizedEvolution
from vintk_kit.search.objectives import COSTS, Evaluation, Objectives, parse_objectives
from vintk_kit.search.optuna_strategies import NSGA2, TPE
from vintk_kit.search.pruning import Pruning
from vintk_kit.search.result import SearchResult, build_result, load_result
from vintk_kit.search.window import Sampler, Window
from vintk_kit.spaces import Architecture, SearchSpace, get_space
from vintk_kit.specs import Spec, parse_spec
from vintk_kit.store import Store

if TYPE_CHECKING:
    from vintk_kit.data import ProbeBatch

__all__ = [
    "STRATEGIES",
    "Evaluation",
    "Objectives",
    "SearchResult",
    "Strategy",
    "Window",
    "load_result",
    "search",
    "search_rows",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "random": RandomSearch,
    "evolution": Evolution,
    "regularized-evolution": RegularizedEvolution,
    "local-search": LocalSearch,
    "pruning": Pruning,
    "nsga2": NSGA2,
    "tpe": TPE,
}
"""Every strategy by name; a new one is a subclass of `Strategy` and an entry here."""


def search(
    space: str | SearchSpace,
    *,
    strategy: str = "random",
    candidates: int = 100,
    proxies: str | Sequence[str] = ("vintk",),
    objectives: str | Sequence[str] | None = None,
    min_params: float | None = None,
    max_params: float | None = None,
    min_macs: float | None = None,
    max_macs: float | None = None,
    min_latency: float | None = None,
    max_latency: float | None = None,
    data: str | ProbeBatch = "photopatch",
    image_size: int | None = None,
    batch_size: int = 32,
    seeds: Sequence[int] | int = (0,),
    init: str = "shared",
    num_classes: int | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    workers: int = 0,
    executor: Executor | None = None,
    scheduler: str | None = None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> SearchResult:
    """Searches a space for the architecture with the best score of an untrained network.

    Args:
        space: Name or spec of a search space, or the space.
        strategy: A name of `STRATEGIES` with options, such as `evolution(population=100)`.
        candidates: Distinct architectures to score, those of earlier runs of the same search included.
        proxies: Proxy specs to score.
        objectives: What is maximised (see `parse_objectives`); by default the first proxy.
        min_params: Smallest number of parameters allowed, and so on for the five that follow. Latency is the raw
            value of the `latency` proxy, measured while scoring.
        data: Name of a data set, or a `ProbeBatch`.
        image_size: Side S; by default the space's.
        batch_size: Number of images N.
        seeds: Seeds of the initial weights; scores are their mean.
        init: `shared` or `independent` initial weights.
        num_classes: Classes C of the head; by default those of the data.
        root: Folder of the data files.
        seed: Seed of the strategy.
        run: Run folder. A search that was interrupted goes on where it ended; `candidates` may be raised.
        workers: 0 scores in this process; n > 0 in n processes.
        executor: Any `concurrent.futures.Executor` instead.
        scheduler: Address of a Dask scheduler instead.
        timeout: Seconds per candidate.
        stop: Once set, candidates in flight are finished and stored, then the result so far is returned.
        on_row: Called with each row, in order, in this thread.

    Returns:
        The result; with a run folder it is also written there.

    Raises:
        InputError: If a value is not allowed or no architecture keeps the limits.
        StoreError: If the run folder cannot be used, or holds a search with other parameters.
    """
    options = dict(locals())
    del options["on_row"]
    rows = search_rows(**options)
    while True:
        try:
            row = next(rows)
        except StopIteration as end:
            return end.value
        if on_row is not None:
            on_row(row)


def search_rows(space: str | SearchSpace, **options: Any) -> Generator[dict[str, Any], None, SearchResult]:
    """The same search as an iterator over rows; the result is the generator's return value.

    Args:
        space: Name or spec of a search space, or the space.
        options: Those of `search`, without `on_row`.

    Yields:
        Rows in the order of the candidates, each already in the store. Closing the generator ends the search at once.
    """
    bound = inspect.signature(search).bind(space, **options)
    bound.apply_defaults()
    settings = dict(bound.arguments)
    if settings.pop("on_row") is not None:
        raise InputError("search_rows: got on_row; allowed: the options of search without it")
    return _search_rows(**settings)


def _search_rows(
    space: str | SearchSpace,
    *,
    strategy: str,
    candidates: int,
    proxies: str | Sequence[str],
    objectives: str | Sequence[str] | None,
    min_params: float | None,
    max_params: float | None,
    min_macs: float | None,
    max_macs: float | None,
    min_latency: float | None,
    max_latency: float | None,
    seed: int,
    run: str | Path | None,
    stop: threading.Event | None,
    workers: int,
    executor: Executor | None,
    scheduler: str | None,
    timeout: float | None,
    **job_options: Any,
) -> Generator[dict[str, Any], None, SearchResult]:
    started = time.monotonic()
    load_plugins()
    window = Window((min_params, max_params), (min_macs, max_macs), (min_latency, max_latency))
    goals = parse_objectives(objectives, _texts(proxies))
    job = make_job(
        space,
        _all_proxies(proxies, goals, window),
        **job_options,
    )
    if candidates < 1:
        raise bad_value("candidates", candidates, "at least 1")
    spec = parse_spec(strategy)
    one_of("strategy", spec.name, STRATEGIES)
    with ExitStack() as stack:
        folder = None if run is None else run_folder(run)
        store = stack.enter_context(Store(folder))
        workplace = {"workers": workers, "executor": executor, "scheduler": scheduler, "timeout": timeout}
        scorer = Scorer(job, store=store, stop=stop, **workplace)
        stack.callback(scorer.close)
        chooser = make_strategy(spec, job, goals, window, seed, scorer.local.num_classes)
        recorded = _recorded(job, spec, goals, window, seed, chooser)
        if folder is not None:
            bind_parameters(folder, "search", recorded)
        asked = yield from _explore(scorer, chooser, candidates, window, stop)
        frame = store.rows()
    facts = {
        "scored": scorer.scored,
        "reused": scorer.reused,
        "seconds": time.monotonic() - started,
        "note": _note(asked, candidates, stop),
        "extra": {"parameters": recorded},
    }
    result = build_result(frame, goals, window, folder, **facts)
    result.save()
    return result


def make_strategy(
    spec: Spec | str, job: Job, goals: Objectives, window: Window, seed: int, num_classes: int
) -> Strategy:
    """Builds a strategy from its spec.

    Raises:
        InputError: If an option is unknown, or the window is empty.
    """
    spec = parse_spec(spec)
    space = get_space(job.space)
    sampler = Sampler(space, window, {"num_classes": num_classes, "image_size": job.image_size})
    factory = STRATEGIES[one_of("strategy", spec.name, STRATEGIES)]
    try:
        return factory(Setting(space, sampler, goals, seed), **spec.kwargs)
    except TypeError as error:
        raise InputError(f"strategy: got {spec}; allowed: {factory.__name__} options ({error})") from error


def _texts(proxies: str | Sequence[str]) -> list[str]:
    from vintk_kit.specs import split_specs

    return split_specs(proxies) if isinstance(proxies, str) else list(proxies)


def _all_proxies(proxies: str | Sequence[str], goals: Objectives, window: Window) -> list[str]:
    latency = ["latency"] if window.latency != (None, None) else []
    return [*_texts(proxies), *goals.proxies, *latency]


def _recorded(job: Job, spec: Spec, goals: Objectives, window: Window, seed: int, chooser: Strategy) -> dict[str, Any]:
    """What decides the search; the number of candidates may grow and is not part of it."""
    return {
        **job.parameters(),
        "strategy": str(spec),
        "batch": chooser.batch,
        "objectives": [item.text for item in goals.items],
        "params": list(window.params),
        "macs": list(window.macs),
        "latency": list(window.latency),
        "seed": seed,
    }


def _explore(
    scorer: Scorer,
    chooser: Strategy,
    candidates: int,
    window: Window,
    stop: threading.Event | None,
) -> Generator[dict[str, Any], None, int]:
    """Runs rounds until enough candidates are scored; yields rows and returns the number of candidates."""
    done = 0
    while done < candidates and not (stop and stop.is_set()):
        if chooser.independent:
            batch: Iterator[Architecture] = itertools.islice(_endless(chooser), candidates - done)
        else:
            # A whole batch is asked even if the budget cuts it: a later run with a larger budget then asks the same.
            batch = iter(chooser.ask(chooser.batch)[: candidates - done])
        told = []
        for rows in scorer.run(batch):
            done += 1
            if not chooser.independent:
                told.append(_evaluation(rows, window))
            yield from rows
        if chooser.independent or not told:
            break
        if not (stop and stop.is_set()):
            chooser.tell(told)
    return done


def _endless(chooser: Strategy) -> Iterator[Architecture]:
    while found := chooser.ask(chooser.batch):
        yield from found


def _evaluation(rows: list[dict[str, Any]], window: Window) -> Evaluation:
    """Mean scores over the seeds of one candidate."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row["score"] is not None:
            scores.setdefault(row["proxy"], []).append(row["score"])
    values = {proxy: float(np.mean(found)) for proxy, found in scores.items()}
    values |= {name: float(rows[0][name]) for name in COSTS if rows[0][name] is not None}
    feasible = True
    if window.latency != (None, None):
        measured = [row["raw"] for row in rows if parse_spec(row["proxy"]).name == "latency" and row["raw"] is not None]
        feasible = bool(measured) and window.distance("latency", float(np.mean(measured))) == 0
    return Evaluation(Architecture.from_json(rows[0]["architecture"]), values, feasible)


def _note(done: int, candidates: int, stop: threading.Event | None) -> str:
    if stop is not None and stop.is_set() and done < candidates:
        return f"stopped after {done} of {candidates} candidates; run the same command again to go on"
    if done < candidates:
        return f"only {done} of {candidates} candidates: the strategy found no further architecture inside the limits"
    return ""


def strategy_table() -> pd.DataFrame:
    """One row per strategy: name and what it is."""
    rows = [
        {"name": name, "summary": (factory.__doc__ or "").strip().partition("\n")[0]}
        for name, factory in STRATEGIES.items()
    ]
    return pd.DataFrame(rows)
