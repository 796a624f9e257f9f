"""Studies: plans are valid, rows are kept, a rerun only judges."""

import json

import numpy as np
import pandas as pd
import pytest

from vintk_kit.benchmarks import BENCHMARKS
from vintk_kit.errors import DataMissingError, InputError
from vintk_kit.proxies import check_proxies
from vintk_kit.spaces import get_space
from vintk_kit.studies import STUDIES, Study, load_table, run_study
from vintk_kit.studies.__main__ import keep, main


def test_plans_name_known_benchmarks_and_proxies():
    for study in STUDIES.values():
        assert set(study.sizes) <= set(BENCHMARKS)
        specs = {str(spec) for spec in check_proxies(study.proxies)}
        assert len(specs) >= len(study.proxies), "no two specs mean the same"
        for left_out in study.skip.values():
            assert set(left_out) <= set(study.proxies)


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Empty runs and cache; a folder with a table of NAS-Bench-201 of ten cells."""
    monkeypatch.setenv("VINTK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("VINTK_BENCHMARKS", str(tmp_path / "none"))
    space, rng = get_space("nasbench201"), np.random.default_rng(0)
    lines = ["arch_str,cifar10_test_200,cifar100_test_200,in16_test_200"]
    operations = ("nor_conv_3x3", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3")
    for _ in range(10):
        a, b, c, d, e, f = (operations[i] for i in rng.integers(0, 5, 6))
        text = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        accuracy = 20 + 4 * np.log10(1 + space.params(space.parse(text)))
        lines.append(f"{text},{accuracy + rng.normal():.2f},{accuracy:.2f},{accuracy:.2f}")
    (tmp_path / "nasbench201.csv").write_text("\n".join(lines))
    return tmp_path


def plan(**options):
    sizes = {"autoformer-tiny-imagenet": 6, "nasbench201": 6}
    return Study("size", ("params", "macs"), sizes, {"batch_size": 4}, **options)


def test_a_rerun_reads_the_rows_and_absent_files_are_left_out(monkeypatch, places):
    monkeypatch.setitem(STUDIES, "test", plan())
    seen = []
    report = lambda benchmark, row, expected: seen.append((row["key"], expected))  # noqa: E731
    first = run_study("test", folder=places, on_row=report, resamples=20)
    assert list(first["benchmark"].unique()) == ["nasbench201"]
    assert len(seen) == seen[0][1] == 12
    again = run_study("test", folder=places, resamples=20)
    assert first.equals(again)
    with pytest.raises(DataMissingError, match="autoformer-tiny-imagenet"):
        run_study("test", folder=places, only="autoformer-tiny-imagenet")
    with pytest.raises(InputError, match="study: got 'nothing'"):
        run_study("nothing")
    with pytest.raises(DataMissingError, match="study test: no file of"):
        run_study("test", resamples=20)


def test_settings_are_scored_apart(monkeypatch, places):
    monkeypatch.setitem(STUDIES, "test", plan(settings={"N=4": {}, "2 seeds": {"seeds": (0, 1)}}))
    table = run_study("test", folder=places, resamples=20)
    assert table.groupby("setting").size().to_dict() == {"N=4": 2, "2 seeds": 2}
    assert {path.name for path in (places / "runs").iterdir()} == {
        "study-test-nasbench201-N-4", "study-test-nasbench201-2-seeds",
    }  # fmt: skip


def test_a_table_replaces_its_benchmarks_only(monkeypatch, places):
    monkeypatch.setitem(STUDIES, "test", plan())
    rows = {"setting": "", "proxy": "params", "low": 0.1, "high": 0.3, "partial": 0.1, "partial_low": 0.0,
            "partial_high": 0.2}  # fmt: skip
    first = pd.DataFrame([{"benchmark": "a", "tau": 0.2, **rows}, {"benchmark": "b", "tau": 0.2, **rows}])
    first.attrs["seconds"] = {"a": 9.0, "b": 4.0}
    keep(first, "test", places)
    second = pd.DataFrame([{"benchmark": "b", "tau": 0.5, **rows}])
    second.attrs["seconds"] = {"b": 1.2}
    keep(second, "test", places)
    table = load_table("test", places)
    assert dict(zip(table["benchmark"], table["tau"], strict=True)) == {"a": 0.2, "b": 0.5}
    assert table["setting"].tolist() == ["", ""]
    assert json.loads((places / "test.json").read_text())["seconds"] == {"a": 9, "b": 1}
    main(["figures", "--out", str(places)])
    assert (places / "test-tau.html").stat().st_size > 1000
    with pytest.raises(SystemExit, match="error: figures: got no table"):
        main(["figures", "--out", str(places / "none")])
