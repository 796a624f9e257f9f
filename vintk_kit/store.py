"""The store of a run: every scored row, in one SQLite file that survives kills and can be read while it is written."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from vintk_kit.errors import StoreError, one_of

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE architectures (
    space TEXT NOT NULL, key TEXT NOT NULL, architecture TEXT NOT NULL, params INTEGER, macs INTEGER,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE TABLE scores (
    space TEXT NOT NULL, key TEXT NOT NULL, proxy TEXT NOT NULL, seed INTEGER NOT NULL, init TEXT NOT NULL,
    data_id TEXT NOT NULL, image_size INTEGER NOT NULL, batch_size INTEGER NOT NULL,
    score REAL, raw REAL, seconds REAL, passes REAL, error TEXT, "index" INTEGER NOT NULL,
    PRIMARY KEY (space, key, proxy, seed, init, data_id, image_size, batch_size)
) WITHOUT ROWID;
"""

IDENTITY = ("space", "key", "proxy", "seed", "init", "data_id", "image_size", "batch_size")
"""Columns that name a row; a second row with the same values is ignored."""

COLUMNS = (
    *("space", "key", "architecture", "proxy", "seed", "init", "data_id", "image_size", "batch_size"),
    *("score", "raw", "seconds", "passes", "error", "params", "macs", "index"),
)

_SCORE_COLUMNS = (*IDENTITY, "score", "raw", "seconds", "passes", "error", "index")
_ARCHITECTURE_COLUMNS = ("architecture", "params", "macs")
_QUOTED = ", ".join(f'{"a" if name in _ARCHITECTURE_COLUMNS else "s"}."{name}"' for name in COLUMNS)
_SELECT = f"SELECT {_QUOTED} FROM scores s JOIN architectures a ON a.space = s.space AND a.key = s.key"


class Store:
    """Rows of a run folder.

    One process writes (a lock on the file `writer.lock`, released by the system when the process ends, however it
    ends); any number read at the same time. `add` is one transaction: a row is either wholly there or not at all.

    Args:
        folder: Run folder; None keeps the rows in memory.
        readonly: Open for reading only.

    Raises:
        StoreError: If another process writes, the file is damaged or of another version, or the disk refuses.
    """

    def __init__(self, folder: str | Path | None, *, readonly: bool = False) -> None:
        self.folder = None if folder is None else Path(folder)
        self.path = ":memory:" if self.folder is None else str(self.folder / "scores.sqlite")
        self._lock: int | None = None
        if readonly and self.folder is not None and not Path(self.path).exists():
            raise StoreError(f"{self.folder}: holds no scores.sqlite; allowed: the folder of a run")
        if self.folder is not None and not readonly:
            self._lock = _take_lock(self.folder)
        try:
            self._connection = self._open(readonly)
        except BaseException:
            self._release()
            raise

    def _open(self, readonly: bool) -> sqlite3.Connection:
        with self._errors():
            if readonly and self.folder is not None:
                uri = f"{Path(self.path).absolute().as_uri()}?mode=ro"
                connection = sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)
            else:
                connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
            try:
                self._prepare(connection, readonly)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: sqlite3.Connection, readonly: bool) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if not readonly:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
        if empty and not readonly:
            connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif not empty and version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: got a store of version {version}; allowed: version {SCHEMA_VERSION}. Export it with "
                "the vintk_kit that wrote it (vintk export), or start another run"
            )
        if not empty and not readonly:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StoreError(f"{self.path}: the file is damaged ({verdict}); {_DAMAGED}")

    def add(self, rows: Iterable[dict[str, Any]]) -> int:
        """Stores rows in one transaction; rows already there are left as they are.

        Args:
            rows: Dicts with the names of `COLUMNS`.

        Returns:
            Number of rows that were new.

        Raises:
            StoreError: The disk refuses, or the run folder is gone.
        """
        if self.folder is not None and not os.path.exists(self.path):  # SQLite would write on into a nameless file
            raise StoreError(
                f"{self.folder}: the run folder was deleted or moved while this run wrote to it, so later rows would "
                "be lost; put it back, or start the run again"
            )
        rows = list(rows)
        scores = [tuple(row[name] for name in _SCORE_COLUMNS) for row in rows]
        known = {(row["space"], row["key"]): row for row in rows}
        architectures = [
            (space, key, row["architecture"], row["params"], row["macs"]) for (space, key), row in known.items()
        ]
        names = ", ".join(f'"{name}"' for name in _SCORE_COLUMNS)
        marks = ", ".join("?" * len(_SCORE_COLUMNS))
        with self._errors(), self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO architectures VALUES (?, ?, ?, ?, ?)", architectures)
            before = self._connection.total_changes
            self._connection.executemany(f"INSERT OR IGNORE INTO scores ({names}) VALUES ({marks})", scores)
            return self._connection.total_changes - before

    def of(self, space: str, key: str) -> list[dict[str, Any]]:
        """The rows of one architecture, as dicts with the names of `COLUMNS`."""
        with self._errors():
            cursor = self._connection.execute(f"{_SELECT} WHERE s.space = ? AND s.key = ?", (space, key))
            return [dict(zip(COLUMNS, values, strict=True)) for values in cursor]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every row, one at a time, in the order of `index`."""
        with self._errors():
            for values in self._connection.execute(f'{_SELECT} ORDER BY s."index", s.proxy, s.seed'):
                yield dict(zip(COLUMNS, values, strict=True))

    def __len__(self) -> int:
        with self._errors():
            return self._connection.execute("SELECT count(*) FROM scores").fetchone()[0]

    def rows(self) -> pd.DataFrame:
        """Every row as a frame, ordered by index, proxy and seed."""
        with self._errors():
            cursor = self._connection.execute(f'{_SELECT} ORDER BY s."index", s.proxy, s.seed')
            frame = pd.DataFrame(cursor.fetchall(), columns=list(COLUMNS))
        return frame.astype(_DTYPES)

    def forget_errors(self) -> int:
        """Deletes the rows with an error, so that the next run scores them again; returns how many."""
        with self._errors(), self._connection:
            return self._connection.execute("DELETE FROM scores WHERE error IS NOT NULL").rowcount

    def export(self, path: str | Path | None = None, *, format: str = "parquet") -> Path:
        """Writes all rows to one file.

        Args:
            path: Target; by default `scores.parquet` or `scores.csv` in the run folder.
            format: `parquet` or `csv`.
        """
        one_of("export format", format, ("parquet", "csv"))
        target = Path(path) if path else Path(self.folder or ".") / f"scores.{format}"
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            frame = self.rows()
            if format == "parquet":
                frame.to_parquet(temporary, index=False)
            else:
                frame.to_csv(temporary, index=False)
            temporary.replace(target)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StoreError(f"{target}: cannot be written ({error.strerror}); the stored rows are safe") from error
        return target

    def close(self) -> None:
        """Closes the file and lets another process write."""
        with self._errors():
            self._connection.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: {_explain(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_DAMAGED = "restore the file from a copy, or start another run (vintk export may still read a part)"

_DTYPES = {
    **dict.fromkeys(("space", "key", "architecture", "proxy", "init", "data_id", "error"), "str"),
    **dict.fromkeys(("score", "raw", "seconds", "passes"), "float64"),
    **dict.fromkeys(("seed", "image_size", "batch_size", "index"), "int64"),
    **dict.fromkeys(("params", "macs"), "Int64"),
}


def _explain(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return f"the disk refuses to take more ({text}); the rows stored so far are safe: free space and run again"
    if "locked" in text:
        return f"another process holds it ({text}); wait for it or use another run name"
    if "not a database" in text or "malformed" in text:
        return f"the file is damaged ({text}); {_DAMAGED}"
    if "readonly" in text or "unable to open" in text:
        return f"it cannot be opened for writing ({text}); check the permissions of the folder"
    return text


def _take_lock(folder: Path) -> int:
    """Locks the folder for this process; the system drops the lock when the process ends, however it ends."""
    path = folder / "writer.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(descriptor)
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise StoreError(f"{path}: cannot be locked ({error.strerror})") from error
        raise StoreError(
            f"run {folder}: {holder} is writing to it; wait for it, stop it, or use another run name "
            "(reading it meanwhile is fine)"
        ) from None
    with suppress(OSError):  # the lock holds even when the disk has no room for the note
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
    return descriptor


def _holder(descriptor: int) -> str:
    try:
        return f"process {json.loads(os.pread(descriptor, 200, 0))['pid']}"
    except (ValueError, KeyError, OSError):
        return "another process"


def read_rows(folder: str | Path) -> pd.DataFrame:
    """All rows of a run folder, also while another process writes to it."""
    with Store(folder, readonly=True) as store:
        return store.rows()


def stored_identities(rows: Sequence[dict[str, Any]]) -> set[tuple]:
    """The identities (see `IDENTITY`) of rows."""
    return {tuple(row[name] for name in IDENTITY) for row in rows}
