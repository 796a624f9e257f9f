"""The registry, the sharing of passes, the untouched network, invariances and errors."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from torch import nn

from vintk_kit.cli.proxies import register
from vintk_kit.errors import InputError
from vintk_kit.proxies import (
    PROXIES,
    Candidate,
    Oriented,
    Proxy,
    check_proxies,
    evaluate,
    log_rank,
    proxy_table,
    rank_sum,
)
from vintk_kit.spaces import get_space
from vintk_kit.spectrum import STATISTICS

KERNEL = [name for name, proxy in PROXIES.items() if proxy.family == "kernel" and name != "vintk"]
ATTENTION_ONLY = {"dss", "dss-released", "autoprox-a"} | {n for n, p in PROXIES.items() if p.family == "attention"}


def sampled(space: str, size: int = 32, n: int = 6) -> Candidate:
    space = get_space(space)
    architecture = space.sample(np.random.default_rng(1))
    network = space.build(architecture, image_size=size)
    images = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    rebuild = lambda channels: space.build(architecture, image_size=size, in_channels=channels)  # noqa: E731
    labels = torch.arange(n) % 3
    return Candidate(network, images, labels, space=space, architecture=architecture, rebuild=rebuild)


def raw(spec: str, candidate: Candidate) -> float:
    (row,) = evaluate([spec], candidate)
    assert row["error"] is None, row
    return row["raw"]


@pytest.mark.parametrize(
    ("space", "size", "failing"),
    [
        ("microvit-32", 32, set()),
        pytest.param("pit-ti", 64, set(), marks=pytest.mark.slow),
        ("nasbench201(channels=4, cells=1)", 32, ATTENTION_ONLY),
    ],
)
def test_all_proxies_and_the_network_is_untouched(space, size, failing):
    candidate = sampled(space, size)
    network = candidate.network
    next(network.parameters()).requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    flags = [(p.requires_grad, p.grad) for p in network.parameters()]
    rows = {row["proxy"]: row for row in evaluate(["all"], candidate)}
    assert list(rows) == list(PROXIES)
    failed = {name for name, row in rows.items() if row["error"]}
    assert failed == failing, {name: rows[name]["error"] for name in failed}
    assert all("UnsupportedModuleError" in rows[name]["error"] for name in failing)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert flags == [(p.requires_grad, p.grad) for p in network.parameters()]
    assert not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    for name, row in rows.items():
        if row["error"] is None:
            assert abs(row["score"]) == abs(row["raw"]), name


def test_one_pass_serves_many():
    candidate = sampled("microvit-32")
    rows = evaluate([*KERNEL, "snip", "plain", "grad-norm", "fisher", "naswot", "swap", "synflow", "dss"], candidate)
    assert candidate.counts == {"kernel": 1, "loss": 1, "patterns": 1, "positive": 1}
    assert rows[0]["passes"] > 1
    assert not any(row["passes"] for row in rows[1 : len(KERNEL)])


def test_a_failing_pass_is_not_repeated():
    candidate = sampled("microvit-32")
    candidate.images[0, 0, 0, 0] = float("nan")
    rows = evaluate(KERNEL, candidate)
    assert candidate.counts == {"kernel": 1}
    assert all(row["error"].startswith("NumericalError") and row["score"] is None for row in rows)


@pytest.mark.parametrize("kind", ["identity", "channel-gaussian", "fold-positional", "modulate-pair", "highpass"])
@pytest.mark.parametrize("combine", ["replace", "sum", "rank"])
def test_vintk_kinds(kind, combine):
    candidate = sampled("microvit-32", n=4)
    found = raw(f"vintk(kind={kind!r}, combine={combine!r}, statistic='trace', per_block=False)", candidate)
    plain = raw("ntk-trace", candidate)
    if kind == "identity":
        assert found == pytest.approx(2 * plain if combine == "sum" else plain, rel=1e-9)
    else:
        assert found != pytest.approx(plain, rel=1e-3)


def test_vintk_statistics_groups_and_blocks():
    candidate = sampled("microvit-32")
    for name, (_, sign) in STATISTICS.items():
        (row,) = evaluate([f"vintk(statistic={name!r}, combine='replace')"], candidate)
        assert row["error"] is None
        assert row["score"] == sign * row["raw"]
    whole = raw("vintk(statistic='trace', groups='mlp', per_block=False)", candidate)
    assert raw("vintk(statistic='trace', groups='mlp', per_block=True)", candidate) == pytest.approx(whole, rel=1e-9)
    kernel = candidate.kernel(joint=True, features=None)
    assert len(kernel) == 12
    assert candidate.counts["kernel"] == 3  # mapped, joint, and the joint one without a mapping


def test_kernel_scores_scale_as_they_should():
    candidate = sampled("microvit-32")
    scaled = copy.deepcopy(candidate.network)
    with torch.no_grad():
        for parameter in scaled.head.parameters():
            parameter.mul_(2)
    # Twice the head multiplies every gradient but the head's own by two.
    twice = Candidate(scaled, candidate.images, candidate.labels)
    for name, factor in (("condition_number", 1), ("trace", 4), ("effective_rank", 1)):
        spec = f"vintk(statistic={name!r}, groups='attention+mlp', combine='replace', kind='identity', per_block=False)"
        assert raw(spec, twice) == pytest.approx(factor * raw(spec, candidate), rel=1e-4)


def test_order_of_the_batch_does_not_matter():
    candidate = sampled("microvit-32")
    order = torch.randperm(len(candidate.images), generator=torch.Generator().manual_seed(3))
    mixed = Candidate(candidate.network, candidate.images[order], candidate.labels[order])
    for name in ("naswot", "swap", "ntk", "vintk", "snip", "kta", "jacob-cov", "head-confidence"):
        assert raw(name, mixed) == pytest.approx(raw(name, candidate), rel=1e-4), name


def test_data_free_proxies_do_not_look_at_the_data():
    candidate = sampled("microvit-32")
    other = Candidate(candidate.network, torch.full_like(candidate.images, float("nan")), candidate.labels)
    names = [name for name, proxy in PROXIES.items() if "data" not in proxy.needs and name != "latency"]
    first, second = evaluate(names, candidate), evaluate(names, other)
    assert len(names) >= 10
    for a, b in zip(first, second, strict=True):
        assert a["error"] is None
        if a["proxy"] != "macs":
            assert a["raw"] == pytest.approx(b["raw"], rel=1e-6), a["proxy"]


def test_head_scores_of_uniform_attention():
    candidate = sampled("microvit-32")
    network = copy.deepcopy(candidate.network)
    with torch.no_grad():
        for block in network.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    uniform = Candidate(network, candidate.images, candidate.labels)
    assert raw("attention-confidence", uniform) == pytest.approx(1 / network.pos_embed.shape[1], rel=1e-5)
    assert raw("head-importance", uniform) == 0  # values are zero


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nkt", "nkt"),
        ("ntk(size=3)", "size"),
        ("snip(mode='fast')", "train"),
        ("latency(repeats='x')", "repeats"),
        ("latency(repeats=True)", "repeats"),
        ("vintk(kind='wavelet')", "bandpass"),
        ("vintk(low=8, high=4)", "high"),
        ("vintk(kind='channel-gaussian')", "joint"),
        ("vintk(centered=True, statistic='log_det')", "singular"),
    ],
)
def test_bad_specs_are_refused_before_any_work(spec, words):
    with pytest.raises(InputError, match=words):
        check_proxies(["params", spec])


def test_canonical_specs():
    assert [str(s) for s in check_proxies(["vintk(low=2)", "vintk", "vintk(high=8,low=4)"])] == [
        "vintk",
        "vintk(high=8, low=4)",
    ]
    assert len(check_proxies(["all", "ntk"])) == len(PROXIES)


def test_failures_become_errors_of_the_row(monkeypatch):
    candidate = sampled("microvit-32")

    def explode(candidate):
        raise RuntimeError("deliberate")

    for name, function in {
        "explode": explode,
        "nan": lambda c: float("nan"),
        "down": lambda c: Oriented(3, -1),
    }.items():
        monkeypatch.setitem(PROXIES, name, Proxy(name, "test", function, 1, frozenset(), 0.0, "test"))
    broken, nan, down = evaluate(["explode", "nan", "down"], candidate)
    assert broken["error"] == "RuntimeError: deliberate"
    assert nan["error"].startswith("NumericalError")
    assert (down["score"], down["raw"]) == (-3, 3)
    with pytest.raises(InputError, match="one per image"):
        Candidate(nn.Identity(), torch.zeros(2, 3, 4, 4), torch.zeros(3, dtype=torch.long))
    labels = Candidate(candidate.network, candidate.images, candidate.labels + 10)
    assert "classes" in evaluate(["snip"], labels)[0]["error"]
    equal = Candidate(candidate.network, candidate.images[:1].expand(4, -1, -1, -1), candidate.labels[:4])
    assert evaluate(["ntk-logdet"], equal)[0]["error"] is not None


def test_aggregation():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, np.nan], "b": [10.0, 30.0, 30.0, 1.0]}, index=list("wxyz"))
    assert rank_sum(frame, ["a", "b"])[:3].tolist() == pytest.approx([1 / 3, (2 / 3 + 2.5 / 3) / 2, (1 + 2.5 / 3) / 2])
    assert log_rank(frame, ["a"])[:3].tolist() == pytest.approx(np.log([1 / 3, 2 / 3, 1]))
    assert rank_sum(frame, ["a", "b"]).isna().tolist() == [False, False, False, True]
    with pytest.raises(InputError, match="columns"):
        rank_sum(frame, ["c"])


def test_table_is_complete():
    table = proxy_table()
    assert list(table["name"]) == list(PROXIES)
    assert table["source"].str.len().min() > 3
    assert all(proxy.function.__doc__ for proxy in PROXIES.values())


def test_the_command_lists_them(capsys):
    app = typer.Typer()
    register(app)
    app([], standalone_mode=False)
    text = capsys.readouterr().out
    assert all(f"\n{name} " in text for name in PROXIES)
    app(["--options"], standalone_mode=False)
    assert "combine='joint'" in capsys.readouterr().out


def test_a_network_without_numbered_blocks_counts_as_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    candidate = Candidate(network, torch.randn(4, 3, 8, 8), torch.arange(4))
    whole = raw("vintk(per_block=False)", candidate)
    assert raw("vintk", candidate) == pytest.approx(whole, rel=1e-12)
