"""Every proxy that has a number from its original implementation gives that number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vintk_kit.proxies import evaluate
from vintk_kit.proxies.activation import agreement, count_regions, patterns
from vintk_kit.proxies.aznas import az_pass
from vintk_kit.proxies.candidate import private_copy
from vintk_kit.proxies.geometry import curve_speeds, without_norms
from vintk_kit.proxies.meco import meco_value

NETS = ("V1", "V2", "V3", "C1", "M1", "N1a", "N1b")
SEEDS = (11, 12)
SALIENCY = ("snip", "grasp", "plain", "grad-norm", "fisher", "l2-norm", "jacob-cov", "synflow")


def raw(candidate, spec):
    (row,) = evaluate([spec], candidate)
    assert row["error"] is None, row
    return row["raw"]


def with_mode(name, mode):
    return name if name in ("l2-norm", "synflow", "fisher") else f"{name}(mode={mode!r})"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETS)
def test_saliency(golden, reference, name, seed):
    candidate = reference(name, seed)
    for mode, values in golden["sets"][f"{name}/s{seed}"]["zero_cost_nas"].items():
        for proxy in SALIENCY:
            want = values[proxy.replace("-", "_")]["value"]
            got = raw(candidate, with_mode(proxy, mode))
            if proxy == "synflow":
                got = math.exp(got)
            tolerance = 1e-5 if proxy == "fisher" else 1e-8
            assert got == pytest.approx(want, rel=tolerance, abs=1e-9), (proxy, mode)
        norm = "running" if mode == "eval" else "batch"
        got = raw(candidate, f"synflow(batch_norm={norm!r})")
        assert got == pytest.approx(math.log(values["synflow_bn"]["value"]), abs=1e-8)
        # The original Fisher score puts the network into train mode by itself.
        want = values["fisher_exact"]["sum_channel_broadcast"]
        if mode == "train" or name[0] in "VM":
            assert raw(candidate, "fisher(tokens='channels')") == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETS)
def test_zico_gradsign_and_condition_number(golden, reference, name, seed):
    candidate, want = reference(name, seed), golden["sets"][f"{name}/s{seed}"]
    assert raw(candidate, "zico") == pytest.approx(want["zico"]["2batches_of_4"]["value"], rel=1e-8)
    assert raw(candidate, "zico(batches=4)") == pytest.approx(want["zico"]["4batches_of_2"]["value"], rel=1e-8)
    assert abs(raw(candidate, "gradsign") - want["gradsign_eval"]["value"]) <= 4
    for spec, key in (
        ("ntk", "tenas_weight"),
        ("ntk(params='all')", "autograd_sum_logits_all"),
        ("ntk(output='trace')", "autograd_trace_mean_weight"),
        ("ntk(output='trace', params='all')", "autograd_trace_mean_all"),
        ("ntk(convention='te-nas-train')", "tenas_weight_trainmode"),
        ("ntk(convention='as-vit')", "asvit_features_weight"),
        ("ntk(convention='tf-tas-released')", "tftas_as_released"),
        ("ntk(convention='tf-tas')", "tftas_parameter_set_mine"),
    ):
        # TF-TAS leaves out the qkv layers of V3, an artefact of its supernet code.
        if key in want["ntk"] and not (key.startswith("tftas") and name == "V3"):
            assert raw(candidate, spec) == pytest.approx(want["ntk"][key]["kappa"], rel=1e-7), spec


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETS)
def test_naswot(golden, reference, name, seed):
    candidate = reference(name, seed)
    for key, want in golden["sets"][f"{name}/s{seed}"]["naswot"].items():
        mode = "train" if key.endswith("train") else "eval"
        if "logdet" in want:
            assert raw(candidate, f"naswot(mode={mode!r})") == pytest.approx(want["logdet"], rel=1e-8)
        if "K" in want:
            found = patterns(private_copy(candidate.network, mode), candidate.images)
            assert agreement(found).tolist() == want["K"]


@pytest.mark.parametrize("name", ["V1", "V2", "V3", "C1", "N1a", "N1b"])
def test_meco(golden, reference, name):
    candidate = reference(name, 11)
    for mode, want in golden["sets"][f"{name}/s11"]["meco"].items():
        image = torch.from_numpy(np.random.RandomState(3011).randn(*want["input_shape"]))
        network = private_copy(candidate.network, mode)
        assert meco_value(network, image, "leaf") == pytest.approx(want["leaf_types_only_mine"], rel=1e-8)
        if name != "C1":  # its containers are counted as in the original, and V1 to N1b cover them
            assert meco_value(network, image) == pytest.approx(want["value"], rel=1e-8)


@pytest.mark.parametrize("name", ["C1", "N1a", "N1b"])
def test_linear_regions(golden, reference, name):
    candidate = reference(name, 11)
    first, second = (torch.from_numpy(np.random.RandomState(s + 11).randn(1, 3, 8, 8)) for s in (4000, 5000))
    steps = torch.arange(64, dtype=torch.float64).view(-1, 1, 1, 1) / 64
    for case, want in golden["sets"][f"{name}/s11"]["linear_regions"]["cases"].items():
        mode, eps = case.split(",eps=")
        regions = count_regions(private_copy(candidate.network, mode), first + float(eps) * steps * second)
        assert regions == want["regions"], case


@pytest.mark.parametrize("name", ["V1", "V2", "C1", "M1"])
def test_length_distortion(golden, reference, name):
    candidate = reference(name, 11)
    shape = candidate.images.shape[1:]
    basis = np.linalg.qr(np.random.RandomState(7011).randn(candidate.images[0].numel(), 2))[0]
    # Gram-Schmidt keeps the direction of each column; QR may flip it, which changes the circle.
    source = np.random.RandomState(7011).randn(candidate.images[0].numel(), 2)
    basis = basis * np.sign((basis * source).sum(0))
    u1, u2 = (torch.from_numpy(basis[:, i]).reshape(shape) for i in range(2))
    curves = golden["sets"][f"{name}/s11"]["as_vit_curve"]
    for key in curves.keys() - {"source"}:
        want = curves[key]
        network, feature = private_copy(candidate.network), "logits"
        if key == "token_mean_no_layernorm":
            network, feature = without_norms(network), "tokens"
        speeds = curve_speeds(network, u1, u2, 10, feature)
        assert speeds.tolist() == pytest.approx(want["speeds_at_each_theta_mine"], rel=1e-8)
        assert float(speeds.sum()) == pytest.approx(want["length_distortion_sum"], rel=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["V1", "V3", "N1a", "N1b"])
def test_az_nas(golden, reference, name, seed):
    candidate = reference(name, seed)
    stream = np.random.RandomState(6000 + seed)
    kind = "vit" if name[0] == "V" else "conv"
    want = golden["sets"][f"{name}/s{seed}"][f"az_nas_{kind}"]
    network = private_copy(candidate.network, "eval" if kind == "vit" else "train")
    found = az_pass(network, candidate.images, lambda shape: torch.from_numpy(2.0 * (stream.rand(*shape) < 0.5) - 1))
    assert sum(found.entropies) == pytest.approx(want["expressivity"], rel=1e-8)
    assert np.mean(found.trainability) == pytest.approx(want["trainability"], rel=1e-8)
    if kind == "conv":
        assert np.diff(found.entropies).min() == pytest.approx(want["progressivity"], rel=1e-8)
    else:
        assert raw(candidate, "az-complexity") == want["complexity"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["V1", "V2", "V3", "V1k"])
def test_dss_and_auto_prox(golden, reference, name, seed):
    candidate, want = reference(name, seed), golden["sets"][f"{name}/s{seed}"]
    assert raw(candidate, "dss(head=True)") == pytest.approx(want["dss"]["autoprox_repo"]["value"], rel=1e-8)
    if published := want["dss"].get("as_published_mine"):
        assert raw(candidate, "dss") == pytest.approx(published["value"], rel=1e-8)
        assert raw(candidate, "dss(qkv='split')") == pytest.approx(published["value_qkv_split"], rel=1e-8)
    if "tftas_as_released" in want["dss"]:
        spec = "dss-released" if name == "V3" else "dss-released(change_qkv=False)"
        assert raw(candidate, spec) == pytest.approx(want["dss"]["tftas_as_released"]["value"], rel=1e-8)
    if "auto_prox_A" in want:
        mine = want["auto_prox_A"]["mine"]
        assert raw(candidate, "autoprox-a") == pytest.approx(mine["value_msa_plus_mlp"], rel=1e-8)
        assert raw(candidate, "autoprox-a(head=True)") == pytest.approx(mine["value_plus_head"], rel=1e-8)
