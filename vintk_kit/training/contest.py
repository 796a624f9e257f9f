"""The honest comparison: a winner against what one would have taken without the score."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vintk_kit.errors import InputError
from vintk_kit.manifest import bind_parameters, write_json
from vintk_kit.paths import run_folder
from vintk_kit.search.window import Sampler, Window
from vintk_kit.spaces import Architecture, SearchSpace, get_space
from vintk_kit.training.result import TrainResult
from vintk_kit.training.trainer import train

COLUMNS = ("entrant", "key", "params", "accuracy", "seconds", "architecture")
DRAWS = 64
"""Architectures of the window among which the largest is the control "best by parameters"."""


@dataclass(frozen=True)
class Contest:
    """Trained entrants.

    Attributes:
        table: One row per entrant: entrant, key, architecture, params, accuracy (test split, kept epoch), seconds.
        history: The epochs of all entrants, with a column `entrant`.
        text: The comparison in words, whatever it says.
    """

    table: pd.DataFrame
    history: pd.DataFrame
    text: str


def entrants(
    space: SearchSpace, winner: Architecture, *, min_params: float | None, max_params: float | None, randoms: int,
    seed: int,
) -> dict[str, Architecture]:  # fmt: skip
    """The winner, the largest of up to `DRAWS` draws inside the window, and random architectures inside the window."""
    rng, inside = np.random.default_rng([seed, 11]), {}
    sampler = Sampler(space, Window(params=(min_params, max_params)), {})
    for _ in range(2 * DRAWS):
        arch = sampler.sample(rng)
        inside.setdefault(arch, space.params(arch))
        if len(inside) == min(DRAWS, space.size()):
            break
    others = [arch for arch in inside if arch != winner]
    if len(others) < randoms + 1:
        raise InputError(
            f"contest: got a window with {len(others)} other architectures in {2 * DRAWS} draws; allowed: at least"
            f" {randoms + 1}, a wider window"
        )
    largest = max(inside, key=inside.get)
    found = {"winner": winner, "largest": largest}
    rest = [arch for arch in others if arch != largest]
    return found | {f"random {index + 1}": rest[index] for index in range(min(randoms, len(rest)))}


def contest(
    space: str | SearchSpace,
    winner: Architecture,
    *,
    data: str = "photopatch",
    preset: str = "smoke",
    seed: int = 0,
    run: str | Path | None = None,
    min_params: float | None = None,
    max_params: float | None = None,
    randoms: int = 3,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: threading.Event | None = None,
    **overrides: Any,
) -> Contest:
    """Trains the winner, the largest architecture of the window and random ones of the window with one recipe.

    Args:
        space: Search space.
        winner: The architecture a search found.
        data: Data set.
        preset: Recipe.
        seed: Of the random choice and of every training.
        run: Run name; finished entrants are not trained again.
        min_params: Lower end of the window the winner was searched in.
        max_params: Upper end.
        randoms: Number of random architectures.
        on_epoch: Called with each epoch's row, `entrant` included.
        stop: Ends the contest after the present step.
        overrides: Options of the recipe.

    Raises:
        InputError: If the window holds too few architectures.
    """
    space = get_space(space)
    chosen = entrants(space, winner, min_params=min_params, max_params=max_params, randoms=randoms, seed=seed)
    folder = None if run is None else run_folder(run) / "contest"
    if folder is not None:
        folder.mkdir(exist_ok=True)
        bind_parameters(folder.parent, "contest", {
            "data": data, "preset": preset, "seed": seed, **overrides,
            "entrants": {name: arch.to_json() for name, arch in chosen.items()},
        })  # fmt: skip
    trained: dict[Architecture, TrainResult] = {}
    rows, histories = [], []
    for name, arch in chosen.items():
        if arch not in trained:  # the winner can be the largest: trained once
            report = None if on_epoch is None else (lambda row, name=name: on_epoch({"entrant": name, **row}))
            place = None if folder is None else folder / arch.key
            result = train(
                space, arch, data=data, preset=preset, seed=seed, run=place, on_epoch=report, stop=stop, **overrides
            )
            if result.interrupted:
                break
            trained[arch] = result
        history = trained[arch].history
        histories.append(history.assign(entrant=name))
        rows.append({
            "entrant": name, "key": arch.key, "params": space.params(arch),
            "accuracy": trained[arch].accuracy, "seconds": float(history["seconds"].sum()),
            "architecture": arch.to_json(),
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = verdict(table) if len(table) == len(chosen) else "The contest was stopped before all entrants were trained."
    if folder is not None:
        table.to_csv(folder / "contest.csv", index=False)
        write_json(folder / "verdict.json", {"text": text, "table": json.loads(table.to_json(orient="records"))})
    history = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame(columns=["entrant", "epoch"])
    return Contest(table, history, text)


def verdict(table: pd.DataFrame) -> str:
    """The comparison in words: rank of the winner and its margins, with the caveat that one seed carries."""
    accuracy = table.set_index("entrant")["accuracy"]
    params = table.set_index("entrant")["params"]
    own, largest = accuracy["winner"], accuracy["largest"]
    randoms = accuracy[accuracy.index.str.startswith("random")]
    beaten = int((randoms < own).sum())
    lines = [
        f"Winner: {own:.1%} with {params['winner']:,} parameters. It beats {beaten} of {len(randoms)} random"
        f" architectures of the same window (their mean {randoms.mean():.1%}, best {randoms.max():.1%})."
    ]
    if table.set_index("entrant")["key"].nunique() < len(table):
        lines.append("The winner is also the largest architecture drawn: parameter count alone would have found it.")
    else:
        word = "beats" if own > largest else "equals" if own == largest else "loses to"
        lines.append(
            f"It {word} the largest architecture drawn ({largest:.1%}, {params['largest']:,} parameters): the score"
            f" {'added to' if own > largest else 'did not add to'} what parameter count alone would have chosen."
        )
    lines.append("One training per entrant: differences of a point or two can be the seed's.")
    return "\n".join(lines)
