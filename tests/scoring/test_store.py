"""The store: idempotent, one writer, many readers, clear about damage."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys

import pandas as pd
import pytest

from vintk_kit.errors import InputError, StoreError
from vintk_kit.manifest import bind_parameters, read_manifest
from vintk_kit.paths import run_folder
from vintk_kit.scoring.frames import wide
from vintk_kit.store import COLUMNS, Store, read_rows


def row(number: int = 0, **changes) -> dict:
    return {
        "space": "s", "key": f"s-{number:012x}", "architecture": "{}", "proxy": "ntk", "seed": 0, "init": "shared",
        "data_id": "d", "image_size": 32, "batch_size": 4, "score": number / 3, "raw": 1.0, "seconds": 0.1,
        "passes": 1.0, "error": None, "params": 5, "macs": None, "index": number, **changes,
    }  # fmt: skip


def test_rows_come_back_exactly_and_only_once(tmp_path) -> None:
    with Store(tmp_path) as store:
        assert store.add([row(i) for i in range(3)]) == 3
        assert store.add([row(1, score=99.0), row(3, score=None, error="E: x")]) == 1
        assert store.of("s", row(1)["key"]) == [row(1)]
        assert [found["index"] for found in store] == [0, 1, 2, 3]
    frame = read_rows(tmp_path)
    assert list(frame.columns) == list(COLUMNS)
    assert frame["score"].tolist()[:3] == [0, 1 / 3, 2 / 3]
    assert frame["error"].tolist()[3] == "E: x"
    assert frame["macs"].isna().all()


def test_reading_while_another_writes_and_no_second_writer(tmp_path) -> None:
    with Store(tmp_path) as store:
        store.add([row()])
        with Store(tmp_path, readonly=True) as reader:
            assert len(reader) == 1
            store.add([row(1)])
            assert len(reader) == 2
            with pytest.raises(StoreError, match="cannot be opened for writing"):
                reader.add([row(2)])
        code = f"from vintk_kit.store import Store; Store({str(tmp_path)!r})"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert "is writing to it" in second.stderr
        assert second.returncode != 0
    Store(tmp_path).close()


def test_a_run_folder_deleted_under_a_run_is_an_error_and_not_a_silent_loss(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    store = Store(tmp_path / "run")
    store.add([row(0)])
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(StoreError, match="run: the run folder was deleted or moved"):
        store.add([row(1)])
    store.close()


def test_damage_and_other_versions_are_named(tmp_path) -> None:
    with Store(tmp_path) as store:
        store.add([row(i, key=f"s-{i:012x}", architecture="a" * 300) for i in range(200)])
    path = tmp_path / "scores.sqlite"
    content = path.read_bytes()
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
    path.write_bytes(content[: len(content) // 2] + b"\x00" * (len(content) // 2))
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
    path.write_bytes(content)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="version 99; allowed: version 1"):
        Store(tmp_path)


def test_export_and_errors_forgotten(tmp_path) -> None:
    with Store(tmp_path) as store:
        store.add([row(0), row(1, error="E: x", score=None)])
        parquet, csv = pd.read_parquet(store.export()), pd.read_csv(store.export(format="csv"))
        assert parquet["score"].tolist()[0] == csv["score"].tolist()[0] == 0
        assert len(parquet) == len(csv) == 2
        with pytest.raises(InputError, match="parquet, csv"):
            store.export(format="xlsx")
        assert store.forget_errors() == 1
        assert len(store) == 1


def test_absent_and_unusable_folders(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"no scores\.sqlite"):
        Store(tmp_path, readonly=True)
    with pytest.raises(StoreError, match="no folder"):
        run_folder(tmp_path / "none", create=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create"):
        run_folder(tmp_path / "file" / "run")
    with pytest.raises(InputError, match="run name"):
        run_folder("up and away")


def test_manifest_refuses_other_parameters(tmp_path) -> None:
    bind_parameters(tmp_path, "search", {"seed": 0, "batch": 4})
    bind_parameters(tmp_path, "search", {"seed": 0, "batch": 4})
    bind_parameters(tmp_path, "training", {"seed": 1})
    with pytest.raises(StoreError, match="seed: recorded 0, got 1"):
        bind_parameters(tmp_path, "search", {"seed": 1, "batch": 4})
    manifest = read_manifest(tmp_path)
    assert {"versions", "hardware", "git_revision", "created", "parameters"} <= manifest.keys()
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="not a readable manifest"):
        read_manifest(tmp_path)


def test_wide_frames() -> None:
    rows = [row(0), row(0, seed=1, score=2.0), row(0, proxy="vintk", score=None, error="E: x"), row(1)]
    frame = wide(pd.DataFrame(rows))
    assert frame["ntk"].tolist() == [1.0, 1 / 3]
    assert frame["vintk"].isna().all()
    assert wide(pd.DataFrame(columns=list(COLUMNS))).empty
