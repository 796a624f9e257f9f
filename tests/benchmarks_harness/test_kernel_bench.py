"""The harness runs and writes what it prints."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    spec = importlib.util.spec_from_file_location("kernel_bench", BENCHMARKS / "kernel.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    small = bench.Case("microvit-32", "microvit-32", 32, samples=4, target=100.0, slow=True)
    monkeypatch.setattr(bench, "QUICK", (small,))
    bench.main(["--rounds", "1", "--no-throughput", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "results.csv")
    assert table["kernel"].iloc[0] > 0
    assert 0 < table["N2 share"].iloc[0] < 1
    assert 0 < table["fraction"].iloc[0] < 1.5
    assert (tmp_path / "machine.txt").read_text().count("\n") == 3
    assert "met" in capsys.readouterr().out


def test_vmap_and_loop_agree_with_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    spec = importlib.util.spec_from_file_location("kernel_bench", BENCHMARKS / "kernel.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    network, images = bench.Case("microvit-32", "microvit-32", 32, samples=3).build()
    exact = bench.tangent_kernel(network, images).matrix
    for slow in (bench.vmap_kernel(network, images), bench.loop_kernel(network, images)):
        assert float((slow - exact).abs().max() / exact.abs().max()) < 1e-4
