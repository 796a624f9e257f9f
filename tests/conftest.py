"""Shared fixtures: where reference numbers live, and what CI may not skip."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    """One torch thread per test process: two workers then share the two cores fairly."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """With CI=true a skipped test is a failure: everything optional is present there."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


def shared_path(*parts: str) -> Path:
    """The path of a reference file, or a skip with the reason."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data {'/'.join(parts)} is absent (it is not shipped with the product)")
    return path


@pytest.fixture(scope="session")
def golden() -> dict:
    """Numbers from the original implementations."""
    return json.loads(shared_path("golden", "golden.json").read_text())


@pytest.fixture(scope="session")
def benchmark_csv():
    """A function from file name to the path of a table of architectures with trained accuracy."""
    return lambda name: shared_path("benchmarks", name)
