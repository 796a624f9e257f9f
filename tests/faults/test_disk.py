"""A disk that fills up: a clear error, nothing lost, and the run goes on once there is room."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import OPTIONS, Runs
from pandas.testing import assert_frame_equal

from vintk_kit.errors import StoreError
from vintk_kit.store import Store

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT = (
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))"
)
"""Stands in for a full disk where mounting one is not allowed: no file may grow beyond this size."""

WORDS = ("--candidates", "400", "--proxies", "steady", "--seed", "1")


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 200 kB, or None where mounting is not allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=200k", "vintk-test", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_with_the_rows_kept(runs: Runs, small_disk: Path | None) -> None:
    runs.complete("whole", *WORDS)
    if small_disk is None:
        run = "full"
        words = ["search", *OPTIONS, "--run", run, *WORDS]
        process = runs.start_code(f"{LIMIT}; from vintk_kit.cli import main; main({words!r})")
    else:
        (small_disk / "full").mkdir()
        run = str(small_disk / "full")
        process = runs.search(run, *WORDS)
    output = runs.finish(process, code=2)
    assert "rows stored so far are safe" in output
    if small_disk is not None:
        assert 0 < len(runs.stored(run)) < 400
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    before = runs.stored(run)
    evaluated = len(runs.evaluated())
    runs.complete(run, *WORDS)
    assert not before & set(runs.evaluated()[evaluated:])
    assert_frame_equal(runs.table(run), runs.table("whole"))


def test_a_full_file_system_leaves_the_store_readable(tmp_path: Path) -> None:
    """The same without a mount: SQLite itself refuses to grow."""
    with Store(tmp_path) as store:
        store._connection.execute("PRAGMA max_page_count=12")
        with pytest.raises(StoreError, match="rows stored so far are safe"):
            any(not store.add([example_row(index)]) for index in range(1000))
        added = len(store)
    assert 10 < added < 1000
    with Store(tmp_path) as store:
        assert len(store) == added
        assert store.add([example_row(added)]) == 1


def example_row(index: int) -> dict:
    numbers = {"score": 1.0, "raw": 1.0, "seconds": 0.1, "passes": 1.0, "params": 10, "macs": 10}
    names = {"space": "s", "key": f"s-{index:012x}", "architecture": "x" * 200, "proxy": "p", "init": "shared"}
    sizes = {"seed": 0, "data_id": "d", "image_size": 32, "batch_size": 4}
    return {**numbers, **names, **sizes, "error": None, "index": index}
