"""Getting benchmark files: cache, resumed downloads, checksums."""

from __future__ import annotations

import os
from pathlib import Path

from vintk_kit.benchmarks.base import Entry
from vintk_kit.errors import DataMissingError

CHUNK = 2**16


def cache_folder() -> Path:
    """Where benchmark files are kept: the variable VINTK_BENCHMARKS, or the user's cache folder."""
    import pooch

    return Path(os.environ.get("VINTK_BENCHMARKS") or pooch.os_cache("vintk_kit")).expanduser()


class ResumingDownloader:
    """A downloader for pooch that goes on where an earlier, cut-off download ended.

    The part so far is kept beside the file with the suffix `.part`; the server must support ranges to resume,
    otherwise the download starts anew.
    """

    def __init__(self, partial: Path) -> None:
        self.partial = partial

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests

        have = self.partial.stat().st_size if self.partial.exists() else 0
        # Compressed answers have no byte positions of the file: they can be neither resumed nor measured.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=60) as response:
            if have and response.status_code == requests.codes.requested_range_not_satisfiable:
                self.partial.unlink()  # nothing is left to ask for, or the file has changed: from the beginning
                return self(url, output_file, pooch)
            response.raise_for_status()
            resumed = response.status_code == 206
            expected = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
            with self.partial.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
        size = self.partial.stat().st_size
        if expected and size < expected:
            raise ConnectionError(f"the connection ended after {size:,} of {expected:,} bytes; call again to resume")
        self.partial.replace(output_file)


def fetch(entry: Entry, *, url: str | None = None, folder: Path | None = None) -> Path:
    """Downloads the public original of a benchmark into the cache, or returns the copy there.

    Args:
        entry: Registry entry.
        url: Another address of the same file.
        folder: Another cache folder.

    Returns:
        Path of the checked file.

    Raises:
        DataMissingError: If there is no public address, the download fails (what came is kept and resumed by the next
            call) or the checksum is wrong (the file is then removed).
    """
    import pooch
    import requests

    folder = folder or cache_folder()
    path, address = folder / entry.file, url or entry.url
    if path.exists() and _checked(path, entry):
        return path
    if address is None:
        raise missing(entry)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        pooch.retrieve(
            address, known_hash=None, fname=entry.file, path=folder,
            downloader=ResumingDownloader(path.with_name(path.name + ".part")),
        )  # fmt: skip
    except (requests.RequestException, OSError) as error:
        raise DataMissingError(
            f"benchmark {entry.name}: {address} could not be read: {error}; or {_by_hand(entry)}"
        ) from error
    if not _checked(path, entry):
        path.unlink()
        raise DataMissingError(
            f"benchmark {entry.name}: the file from {address} has not the SHA-256 {entry.sha256}...; it was removed"
        )
    return path


def _checked(path: Path, entry: Entry) -> bool:
    """The published sources state only the beginning of some checksums, so the known part is compared."""
    import pooch

    return pooch.file_hash(str(path)).startswith(entry.sha256)


def missing(entry: Entry) -> DataMissingError:
    """The error for an absent file: where to put it."""
    return DataMissingError(f"benchmark {entry.name}: {entry.file} is not here; {_by_hand(entry)}")


def _by_hand(entry: Entry) -> str:
    source = f" ({entry.metadata['source']})" if entry.metadata.get("source") else ""
    return f"put {entry.file}{source} into {cache_folder()}, or give its path (--path)"
