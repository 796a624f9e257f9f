"""Candidates that raise, return NaN, run out of memory, hang or kill their worker become rows with an error."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from vintk_kit.scoring import score
from vintk_kit.spaces import get_space

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("VINTK_PLUGINS", "fault_proxies")
    monkeypatch.setenv("FAULT_MARKS", str(tmp_path))
    monkeypatch.delenv("FAULT_LOG", raising=False)
    import fault_proxies

    yield fault_proxies
    from vintk_kit.proxies import PROXIES

    for name in ("steady", "faulty"):
        PROXIES.pop(name, None)
    sys.modules.pop("fault_proxies", None)


def candidates(plugged, every: int, count: int = 6) -> list:
    """Architectures of which the second and the last are faulty and no other."""
    space, rng = get_space("microvit-32"), np.random.default_rng(0)
    good, bad = [], []
    while len(good) < count - 2 or len(bad) < 2:
        architecture = space.sample(rng)
        (bad if plugged.number(architecture) % every == 0 else good).append(architecture)
    return [good[0], bad[0], *good[1 : count - 2], bad[1]]


def rows(architectures: list, *kinds: str, **options) -> pd.DataFrame:
    proxies = [f"faulty(kind='{kind}',every=5)" for kind in kinds]
    return pd.DataFrame(score("microvit-32", architectures, proxies, batch_size=4, **options))


@pytest.mark.parametrize(
    "messages",
    [
        {"raise": "deliberate failure", "nan": "nan", "memory": "allocate"},
        {"die": "SIGKILL"},
        {"hang": "within 1 s"},
    ],
)
def test_a_faulty_candidate_is_a_row(plugged, messages: dict[str, str]) -> None:
    """The last candidate is among the faulty ones: nothing may wait for it for ever."""
    architectures = candidates(plugged, 5)
    whole = rows(architectures, *messages, workers=1, timeout=1.0 if "hang" in messages else 60.0)
    for (_, frame), message in zip(whole.groupby("proxy", sort=False), messages.values(), strict=True):
        assert frame["key"].tolist() == [each.key for each in architectures]
        failed = frame["error"].notna()
        assert failed.tolist() == [False, True, False, False, False, True]
        assert frame.loc[failed, "error"].str.contains(message).all(), frame["error"].tolist()
        assert frame.loc[failed, "score"].isna().all()
        assert frame.loc[failed, "params"].notna().all()


def test_a_worker_that_dies_once_is_tried_again(plugged) -> None:
    architectures = candidates(plugged, 5)
    frame = rows(architectures, "die-once", workers=1)
    assert frame["error"].isna().all()
    assert_frame_equal(
        frame.drop(columns=["seconds", "proxy"]), rows(architectures, "none").drop(columns=["seconds", "proxy"])
    )
