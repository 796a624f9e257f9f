"""The honest comparison of dense networks: a winner, random architectures, and a network of another family."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vintk_kit.errors import InputError
from vintk_kit.manifest import bind_parameters
from vintk_kit.paths import run_folder
from vintk_kit.search.window import Sampler, Window
from vintk_kit.segmentation.data import load_pairs
from vintk_kit.segmentation.models import build_segmenter
from vintk_kit.segmentation.recipe import DenseRecipe, make_dense_recipe
from vintk_kit.segmentation.trainer import train_dense
from vintk_kit.spaces import Architecture, SearchSpace, get_space
from vintk_kit.training.contest import Contest

COLUMNS = ("entrant", "space", "key", "params", "miou", "accuracy", "seconds", "architecture")
DRAWS = 64
"""Architectures of the baseline space among which the one nearest in size is taken."""


def segmenter_params(space: SearchSpace, arch: Architecture, num_classes: int, recipe: DenseRecipe) -> int:
    """Number of parameters of backbone, pyramid and decoder."""
    network = build_segmenter(
        space, arch, num_classes=num_classes, image_size=recipe.crop_height, decoder=recipe.decoder
    )
    return sum(parameter.numel() for parameter in network.parameters())


def nearest_in_size(
    space: SearchSpace, params: int, num_classes: int, recipe: DenseRecipe, seed: int = 0
) -> Architecture:
    """Of up to 64 draws, the architecture whose segmentation network comes nearest to a number of parameters."""
    rng = np.random.default_rng([seed, 17])
    draws = sorted({space.sample(rng) for _ in range(min(DRAWS, 2 * space.size()))}, key=lambda arch: arch.key)
    sizes = [space.params(arch, num_classes=num_classes, image_size=recipe.crop_height) for arch in draws]
    # Pyramid and decoder depend little on the architecture: one network tells what they add.
    added = segmenter_params(space, draws[0], num_classes, recipe) - sizes[0]
    return draws[int(np.argmin([abs(size + added - params) for size in sizes]))]


def dense_contest(
    space: str | SearchSpace,
    winner: Architecture,
    *,
    baseline: str | SearchSpace = "pit-ti",
    randoms: int = 1,
    min_params: float | None = None,
    max_params: float | None = None,
    data: str = "bluemarble",
    preset: str | DenseRecipe = "smoke",
    seed: int = 0,
    run: str | Path | None = None,
    root: str | Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    stop: threading.Event | None = None,
    **overrides: Any,
) -> Contest:
    """Trains the winner, random architectures of the window and a baseline of the winner's size with one recipe.

    Args:
        space: Search space.
        winner: The architecture a search found.
        baseline: Space of another family; of it the architecture nearest in size is trained, on a feature pyramid.
        randoms: Number of random architectures.
        min_params: Lower end of the window the winner was searched in.
        max_params: Upper end.
        data: Dense data set.
        preset: Recipe.
        seed: Of the random choice and of every training.
        run: Run name; finished entrants are not trained again.
        root: Folder of the data.
        on_epoch: Called with each epoch's row, `entrant` included.
        stop: Ends the contest after the present step.
        overrides: Options of the recipe.

    Returns:
        A contest whose table has entrant, space, key, params, miou and accuracy (test split, kept epoch),
        seconds, architecture.
    """
    space, other, recipe = get_space(space), get_space(baseline), make_dense_recipe(preset, **overrides)
    classes = load_pairs(data, root=root).num_classes
    size = segmenter_params(space, winner, classes, recipe)
    chosen = {"winner": (space, winner)}
    for index, arch in enumerate(_randoms(space, winner, (min_params, max_params), randoms, seed)):
        chosen[f"random {index + 1}"] = (space, arch)
    chosen["baseline"] = (other, nearest_in_size(other, size, classes, recipe, seed))
    folder = None if run is None else run_folder(run) / "contest"
    if folder is not None:
        folder.mkdir(exist_ok=True)
        bind_parameters(folder.parent, "contest", {
            "data": data, "seed": seed, "recipe": vars(recipe),
            "entrants": {name: arch.to_json() for name, (_, arch) in chosen.items()},
        })  # fmt: skip
    rows, histories = [], []
    for name, (home, arch) in chosen.items():
        report = None if on_epoch is None else (lambda row, name=name: on_epoch({"entrant": name, **row}))
        place = None if folder is None else folder / name.replace(" ", "-")
        result = train_dense(
            home, arch, data=data, preset=recipe, seed=seed, run=place, root=root, on_epoch=report, stop=stop
        )
        if result.interrupted:
            break
        kept = result.test["kept"]
        rows.append({
            "entrant": name, "space": home.name, "key": arch.key, "params": result.params,
            "miou": kept["miou"], "accuracy": kept["accuracy"],
            "seconds": float(result.history["seconds"].sum()), "architecture": arch.to_json(),
        })  # fmt: skip
        histories.append(result.history.assign(entrant=name))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = dense_verdict(table) if len(rows) == len(chosen) else "Stopped before all entrants were trained."
    if folder is not None:
        table.to_csv(folder / "contest.csv", index=False)
    history = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame(columns=["entrant", "epoch"])
    return Contest(table, history, text)


def _randoms(
    space: SearchSpace, winner: Architecture, window: tuple[float | None, float | None], count: int, seed: int
) -> list[Architecture]:
    sampler, rng = Sampler(space, Window(params=window), {}), np.random.default_rng([seed, 11])
    found: list[Architecture] = []
    for _ in range(20 * count):
        arch = sampler.sample(rng)
        if arch != winner and arch not in found:
            found.append(arch)
        if len(found) == count:
            return found
    if count:
        raise InputError(f"contest: got a window with {len(found)} other architectures; allowed: at least {count}")
    return found


def dense_verdict(table: pd.DataFrame) -> str:
    """The comparison in words, whatever it says."""
    miou, params = table.set_index("entrant")["miou"], table.set_index("entrant")["params"]
    own, randoms = miou["winner"], miou[miou.index.str.startswith("random")]
    lines = [f"Winner: mIoU {own:.3f} with {params['winner']:,} parameters."]
    if len(randoms):
        lines.append(
            f"It beats {int((randoms < own).sum())} of {len(randoms)} random architectures of the same window (their"
            f" mean {randoms.mean():.3f}, best {randoms.max():.3f})."
        )
    word = "beats" if own > miou["baseline"] else "does not beat"
    lines.append(
        f"It {word} the baseline ({table.set_index('entrant')['space']['baseline']}, {params['baseline']:,} parameters,"
        f" mIoU {miou['baseline']:.3f})."
    )
    lines.append("One brief training per entrant: differences of a few hundredths can be the seed's.")
    return "\n".join(lines)
