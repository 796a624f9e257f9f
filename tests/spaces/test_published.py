"""Agreement with published tables: parameters, operation counts, strings of NAS-Bench-201."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from vintk_kit.spaces import get_space
from vintk_kit.spaces.vit import ViTConfig
from vintk_kit.spaces.vit_space import _released_macs


def _vit(space, row):
    return space.architecture(
        embed_dim=row.embed_dim,
        depth=row.depth,
        num_heads=json.loads(row.num_heads),
        mlp_ratio=json.loads(row.mlp_ratio),
    )


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_autoformer_rows(size, benchmark_csv):
    space = get_space(f"autoformer-{size}")
    for row in pd.read_csv(benchmark_csv(f"autoformer_{size}_imagenet.csv")).itertuples():
        arch = _vit(space, row)
        assert space.contains(arch)
        assert space.params(arch) == row.params
        assert space.macs(arch, convention="released") == round(row.flops)


def test_scratch_rows(benchmark_csv):
    space, supernet = get_space("autoformer-tiny-scratch"), get_space("autoformer-tiny")
    for row in pd.read_csv(benchmark_csv("autoformer_tiny_scratch.csv")).itertuples():
        assert space.params(_vit(space, row)) == row.params_subnet_c100
        assert supernet.params(_vit(supernet, row)) == row.params_supernet_in1k
        assert supernet.macs(_vit(supernet, row), convention="released") == round(row.flops_supernet_in1k)


def test_pit_rows_and_golden(benchmark_csv):
    space = get_space("pit-ti")
    for row in pd.read_csv(benchmark_csv("pit_scratch.csv")).itertuples():
        arch = space.architecture(
            base_dim=row.base_dim,
            mlp_ratio=row.mlp_ratio,
            depth=json.loads(row.depth),
            num_heads=json.loads(row.num_heads),
        )
        assert space.contains(arch)
        assert space.params(arch, num_classes=100) == row.params_c100
    arch = space.architecture(base_dim=16, mlp_ratio=6, depth=[2, 8, 4], num_heads=[2, 4, 4])
    assert space.params(arch, num_classes=100) == 893_828
    assert space.macs(arch, num_classes=100, convention="released") == 159_665_472


def test_nasbench201_rows(benchmark_csv):
    space = get_space("nasbench201")
    for row in pd.read_csv(benchmark_csv("nasbench201.csv")).itertuples():
        arch = space.parse(row.arch_str)
        assert space.to_string(arch) == row.arch_str
        assert space.params(arch) == row.params
        assert space.unique_string(arch) == row.unique_str


def test_nasbench201_golden(golden):
    small = get_space("nasbench201(channels=4, cells=1)")
    space = get_space("nasbench201")
    for row in golden["nasbench201_params"]["rows"]:
        arch = space.parse(row["arch"])
        assert [space.params(arch, num_classes=c) for c in (10, 100, 120)] == [
            row[f"params_C16_N5_c{c}"] for c in (10, 100, 120)
        ]
        assert small.params(small.parse(row["arch"])) == row["params_C4_N1_c10"]
        assert space.macs(arch) == row["conv_linear_macs_32x32"]


def test_complexity_of_the_golden_networks(golden):
    for net, config in {
        "V1": ViTConfig(48, (3,) * 3, (192,) * 3, 8, 32, 3, 10),
        "V3": ViTConfig(128, (2,) * 2, (256,) * 2, 8, 32, 3, 10),
    }.items():
        assert _released_macs(config) == golden["sets"][f"{net}/s11"]["tftas_complexity"]["value"]


def test_published_subnets_have_the_reported_size():
    expected = {
        "AutoFormer-T": 5.87, "TF-TAS-Ti": 6.2, "AutoFormer-S": 22.9, "TF-TAS-S": 23.9,
        "AutoFormer-B": 53.7, "TF-TAS-B": 56.5,
    }  # fmt: skip
    for size in ("tiny", "small", "base"):
        space = get_space(f"autoformer-{size}")
        for name, arch in space.published().items():
            assert space.params(arch) / 1e6 == pytest.approx(expected[name], abs=0.05)
    seed = "8,2,3|4,1,2|4,1,4|4,1,6|32"
    space = get_space("as-vit")
    assert space.to_string(space.parse(seed)) == seed
