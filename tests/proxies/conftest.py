"""The reference networks, loaded by path because test folders are no packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

from vintk_kit.proxies import Candidate


@pytest.fixture(scope="session")
def nets() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "golden_nets.py"
    spec = importlib.util.spec_from_file_location("golden_nets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference(nets: ModuleType) -> Callable[[str, int], Candidate]:
    """(network, seed) -> a candidate of a reference network, shared by the tests of a session."""
    return lru_cache(maxsize=None)(lambda name, seed: Candidate(nets.build(name, seed), *nets.inputs(name, seed)))
