"""The reference networks, loaded by path because test folders are no packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def nets() -> ModuleType:
    """The module tests/golden_nets.py."""
    path = Path(__file__).resolve().parents[1] / "golden_nets.py"
    spec = importlib.util.spec_from_file_location("golden_nets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
