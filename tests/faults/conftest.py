"""The folder is put on the path so that its helper modules import by name, here and in the workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def runs(tmp_path):
    from harness import runs_in

    with runs_in(tmp_path) as found:
        yield found
