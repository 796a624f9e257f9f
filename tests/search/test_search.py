"""Strategies, constraints, objectives, results and resuming."""

from __future__ import annotations

import json
import threading

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from vintk_kit.errors import InputError, StoreError
from vintk_kit.plots.search import marginal_effects, write_report
from vintk_kit.search import STRATEGIES, load_result, search, search_rows
from vintk_kit.search.base import Setting
from vintk_kit.search.compare import compare_runs
from vintk_kit.search.encoding import Encoding
from vintk_kit.search.objectives import Evaluation, crowding_distance, pareto_front, parse_objectives
from vintk_kit.search.published import run_cost
from vintk_kit.search.window import Sampler, Window
from vintk_kit.spaces import get_space

SPACE = "microvit-32"
SIZES = {"num_classes": 10, "image_size": 32}


def quick(**options):
    """A search by parameters alone: no gradient is computed."""
    return search(SPACE, **{"proxies": "params,depth", "batch_size": 2, "candidates": 24, **options})


def strategy(spec: str, seed: int = 0, objectives: str = "max:params", window: Window | None = None):
    from vintk_kit.specs import parse_spec

    space = get_space(SPACE)
    parsed = parse_spec(spec)
    sampler = Sampler(space, window or Window(), SIZES)
    goals = parse_objectives(objectives, [])
    return STRATEGIES[parsed.name](Setting(space, sampler, goals, seed), **parsed.kwargs)


def evaluate(chooser, architectures) -> list[Evaluation]:
    """Scores by a smooth function of the choices: wide, shallow networks with few heads are best."""
    found = []
    for architecture in architectures:
        value = architecture["embed_dim"] / 10 - architecture["depth"] - np.mean(architecture["num_heads"])
        params = float(chooser.space.params(architecture, **SIZES))
        found.append(Evaluation(architecture, {"params": params, "depth": float(value)}))
    return found


def play(spec: str, budget: int, **options) -> list[Evaluation]:
    chooser = strategy(spec, **options)
    seen: list[Evaluation] = []
    while len(seen) < budget:
        told = evaluate(chooser, chooser.ask(chooser.batch))
        assert told
        chooser.tell(told)
        seen += told
    return seen[:budget]


SMALL = {
    "random": "random",
    "evolution": "evolution(population=20,select=5,crossovers=8,mutations=8)",
    "regularized-evolution": "regularized-evolution(population=20,sample=5)",
    "local-search": "local-search(starts=10)",
    "pruning": "pruning(batch=20)",
    "nsga2": "nsga2(population=20)",
    "tpe": "tpe(startup=10)",
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_seeded_feasible_and_never_repeats(name: str) -> None:
    window = Window(params=(5e4, 4e5))
    first = [each.architecture for each in play(SMALL[name], 60, window=window)]
    assert first == [each.architecture for each in play(SMALL[name], 60, window=window)]
    assert first != [each.architecture for each in play(SMALL[name], 60, window=window, seed=1)]
    assert len({architecture.key for architecture in first}) == 60
    space = get_space(SPACE)
    assert all(5e4 <= space.params(architecture, **SIZES) <= 4e5 for architecture in first)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in ("random", "nsga2")])
def test_a_strategy_learns(name: str) -> None:
    """With the same budget the last third is better on average than random candidates."""
    objectives = "depth"
    random = [each.values["depth"] for each in play("random", 120, objectives=objectives)]
    last = [each.values["depth"] for each in play(SMALL[name], 120, objectives=objectives)][80:]
    assert np.mean(last) > np.mean(random) + 1


def test_failed_candidates_never_become_parents() -> None:
    chooser = strategy("evolution(population=6,select=3,crossovers=2,mutations=2)", objectives="depth")
    asked = chooser.ask(6)
    chooser.tell([Evaluation(architecture, {} if i else {"depth": 0.0}) for i, architecture in enumerate(asked)])
    assert [parent.architecture for parent in chooser.parents] == asked[:1]


def test_an_empty_window_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no architecture of microvit-32.*the space spans 17,002 to 1,\d+,\d+"):
        quick(max_params=1e3)
    with pytest.raises(InputError, match=r"a window that holds [\d,]+ and [\d,]+"):
        quick(min_params=1.2e6, max_params=1.2001e6)
    with pytest.raises(InputError, match="minimum first"):
        quick(min_macs=2, max_macs=1)


def test_an_exhausted_window_ends_with_a_note() -> None:
    result = quick(max_params=17_100, candidates=500)
    assert 1 <= len(result.table) < 500
    assert "no further architecture inside the limits" in result.note
    assert (result.table["params"] <= 17_100).all()


def test_a_narrow_window_is_walked_into() -> None:
    space = get_space("autoformer-tiny")
    sizes = {"num_classes": 1000, "image_size": 224}
    sampler = Sampler(space, Window(params=(9.0e6, 9.3e6)), sizes)
    found = sampler.sample(np.random.default_rng(0))
    assert 9.0e6 <= space.params(found, **sizes) <= 9.3e6


def test_objectives_are_read() -> None:
    goals = parse_objectives("depth,params,rank(depth,max:macs)", [])
    assert [item.signs for item in goals.items] == [(1,), (-1,), (1, 1)]
    assert goals.columns == ("depth", "params", "macs")
    assert parse_objectives(None, ["depth"]).items[0].columns == ("depth",)
    for text in ("rank(depth)", "nothing", "all"):
        with pytest.raises(InputError):
            parse_objectives(text, [])
    with pytest.raises(InputError, match="rank ensemble with an Optuna strategy"):
        strategy("tpe", objectives="rank(depth,params)")


def test_pareto_front_equals_the_definition() -> None:
    values = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(float)
    dominated = [any((b >= a).all() and (b > a).any() for b in values) for a in values]
    np.testing.assert_array_equal(pareto_front(values), ~np.array(dominated))
    line = np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]])
    np.testing.assert_allclose(crowding_distance(line, np.zeros(3, int)), [np.inf, 2.0, np.inf])


def test_ensembles_rank_within_the_candidates() -> None:
    space, rng = get_space(SPACE), np.random.default_rng(0)
    goals = parse_objectives("rank(depth,max:params)", [])
    values = [(1.0, 5.0), (2.0, 9.0), (3.0, 7.0), (np.nan, 99.0)]
    told = [Evaluation(space.sample(rng), {"depth": a, "params": b}) for a, b in values]
    np.testing.assert_array_equal(goals.matrix(told)[:, 0], [2, 5, 5, -np.inf])
    assert goals.order(told)[-1] == 3


def test_encoding_goes_there_and_back() -> None:
    rng = np.random.default_rng(0)
    for name in ("microvit-32", "autoformer-tiny"):
        space = get_space(name)
        encoding = Encoding(space)
        for _ in range(20):
            architecture = space.sample(rng)
            assert encoding.decode(encoding.encode(architecture)) == architecture
        drawn = encoding.decode(encoding.draw(rng))
        assert drawn is None or space.contains(drawn)


def test_a_run_folder_holds_everything_and_resumes(tmp_path) -> None:
    whole = quick(strategy="evolution(population=8,select=3,crossovers=3,mutations=3)", run=tmp_path / "whole")
    words = {"strategy": "evolution(population=8,select=3,crossovers=3,mutations=3)", "run": tmp_path / "part"}
    part = quick(**words, candidates=11)
    assert (part.scored, part.reused) == (11, 0)
    rest = quick(**words)
    assert (rest.scored, rest.reused) == (13, 11)
    assert_frame_equal(rest.frame.drop(columns="seconds"), whole.frame.drop(columns="seconds"))
    assert rest.winner == whole.winner == whole.winner
    record = json.loads((tmp_path / "part" / "architecture.json").read_text())
    assert get_space(SPACE).parse(json.dumps(record)) == rest.winner
    assert record["params"] == whole.table["params"].max()
    names = {"manifest.json", "scores.sqlite", "scores.parquet", "architecture.json", "front.csv", "leaderboard.csv"}
    assert names <= {path.name for path in (tmp_path / "part").iterdir()}
    loaded = load_result(tmp_path / "part")
    assert loaded.winner == rest.winner
    assert_frame_equal(loaded.table, rest.table)
    with pytest.raises(StoreError, match="seed: recorded 0, got 5"):
        quick(**words, seed=5)


def test_stop_keeps_what_is_done() -> None:
    stop, rows = threading.Event(), []

    def on_row(row: dict) -> None:
        rows.append(row)
        if row["index"] == 3:
            stop.set()

    result = quick(stop=stop, on_row=on_row)
    assert len(result.table) == 4
    assert "stopped after 4 of 24" in result.note
    assert [row["index"] for row in rows] == [i for i in range(4) for _ in range(2)]


def test_several_objectives_give_a_front(tmp_path) -> None:
    result = quick(objectives="max:macs,min:params", candidates=60, run=tmp_path / "front")
    front = result.front
    assert len(front) > 2
    assert front.sort_values("macs")["params"].is_monotonic_increasing
    assert result.winner.key in set(front["key"])
    page = write_report(result).read_text()
    assert "Pareto front" in page
    assert "quoted" in page
    assert "https://cdn" not in page.partition("</script>")[0]


def test_marginal_effects_are_means() -> None:
    result = quick(candidates=40, objectives="max:params")
    effects = marginal_effects(result).set_index(["choice", "option"])
    wide = result.table["architecture"].str.contains('"embed_dim":144')
    expected = result.table.loc[wide, "value"].mean() - result.table["value"].mean()
    assert effects.loc[("embed_dim", "144"), "effect"] == pytest.approx(expected)
    assert effects.loc["depth", "count"].sum() == 40


def test_runs_are_compared(tmp_path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        quick(run=tmp_path / name, seed=seed, candidates=12)
    summary, overlap = compare_runs([tmp_path / name for name in "abc"])
    assert summary["candidates"].tolist() == [12, 12, 12]
    same = overlap.query("run == 'a' and other == 'b'")
    assert same["common"].tolist() == [12] * len(same)
    assert (same["largest_difference"] == 0).all()
    with pytest.raises(InputError, match="at least two"):
        compare_runs([tmp_path / "a"])
    with pytest.raises(StoreError, match="holds no search"):
        compare_runs([tmp_path, tmp_path / "a"])


def test_costs_say_what_is_measured(tmp_path) -> None:
    frame = pd.DataFrame({"key": ["a", "a", "b"], "seconds": [1.0, 2.0, 3.0], "passes": [1.0, 1.0, 4.0]})
    table = run_cost(frame)
    assert table["evidence"].tolist() == ["measured"] + ["quoted"] * (len(table) - 1)
    assert table.loc[0, "seconds_per_candidate"] == 3
    assert table.loc[0, "device_days"] == pytest.approx(6 / 86400)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "bayes"}, "regularized-evolution"),
        ({"strategy": "evolution(popullation=3)"}, "popullation"),
        ({"strategy": "evolution(population=3,crossovers=3)"}, "crossovers"),
        ({"candidates": 0}, "at least 1"),
        ({"objectives": "nothing"}, "nothing"),
    ],
)
def test_bad_input_says_what_is_allowed(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick(**options)


def test_rows_may_be_iterated() -> None:
    options = {"proxies": "params", "batch_size": 2, "candidates": 5}
    rows, found = search_rows(SPACE, **options), []
    while True:
        try:
            found.append(next(rows)["key"])
        except StopIteration as end:
            result = end.value
            break
    assert found == result.table["key"].tolist()
    assert result.winner == search(SPACE, **options).winner
    with pytest.raises(TypeError, match="nothing"):
        search_rows(SPACE, nothing=1)
