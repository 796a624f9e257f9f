"""Studies: plans are valid, rows are kept, a rerun only judges."""

import pytest

from vintk_kit.benchmarks import BENCHMARKS
from vintk_kit.errors import DataMissingError, InputError
from vintk_kit.proxies import check_proxies
from vintk_kit.studies import STUDIES, Study, run_study


def test_plans_name_known_benchmarks_and_proxies():
    for study in STUDIES.values():
        assert set(study.sizes) <= set(BENCHMARKS)
        specs = {str(spec) for spec in check_proxies(study.proxies)}
        assert len(specs) >= len(study.proxies), "no two specs mean the same"
        for left_out in study.skip.values():
            assert set(left_out) <= set(study.proxies)


def test_a_rerun_reads_the_rows_and_absent_files_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv("VINTK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("VINTK_BENCHMARKS", str(tmp_path / "none"))
    plan = Study("size", ("params", "depth"), {"microvit-photopatch": 6, "nasbench201": 6}, {"batch_size": 4})
    monkeypatch.setitem(STUDIES, "test", plan)
    seen = []
    report = lambda benchmark, row, expected: seen.append((row["key"], expected))  # noqa: E731
    first = run_study("test", on_row=report, resamples=20)
    assert list(first["benchmark"].unique()) == ["microvit-photopatch"]
    assert len(seen) == seen[0][1] == 12
    again = run_study("test", resamples=20)
    assert first.equals(again)
    with pytest.raises(DataMissingError, match="nasbench201"):
        run_study("test", only="nasbench201")
    with pytest.raises(InputError, match="study: got 'nothing'"):
        run_study("nothing")
