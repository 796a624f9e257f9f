"""Golden matrices, invariants, and what must be refused."""

from __future__ import annotations

import gc
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError, NumericalError, UnsupportedModuleError
from vintk_kit.ntk import KernelOperator, frequency_response, layer_group, tangent_kernel, weights_in

GOLDEN = [f"{net}/s{seed}" for net in ("V1", "V2", "V3", "C1", "M1", "N1a", "N1b") for seed in (11, 12)]


def problem(nets: ModuleType, name: str = "V1", n: int = 8, dtype: torch.dtype = torch.float64) -> tuple:
    return nets.build(name, 11, dtype), nets.inputs(name, 11, dtype, n)[0]


def close(got: Tensor, want: Tensor | list, tolerance: float = 1e-12) -> None:
    want = torch.as_tensor(want, dtype=torch.float64)
    assert float((got - want).abs().max() / want.abs().max()) < tolerance


@pytest.mark.parametrize("key", GOLDEN)
def test_golden(golden: dict, nets: ModuleType, key: str) -> None:
    name, seed = key.split("/s")
    network, (images, _) = nets.build(name, int(seed)), nets.inputs(name, int(seed))
    want = golden["sets"][key]["ntk"]
    close(tangent_kernel(network, images).matrix, want["autograd_sum_logits_weight"]["K"])
    kernel = tangent_kernel(network, images, params="all")
    close(kernel.matrix, want["autograd_sum_logits_all"]["K"])
    traced = tangent_kernel(network, images, params="all", output="trace")
    close(traced.matrix / network(images).shape[1], want["autograd_trace_mean_all"]["K"])
    single = tangent_kernel(network.float(), images.float(), params="all")
    close(single.matrix, want["autograd_sum_logits_all"]["K"], 1e-5)
    if "sum_logits_by_group" in want:
        groups = want["sum_logits_by_group"]["value"]
        for start, mine in {"embed": "patch_embed+position", "norm": "norm", "attn": "attention", "mlp": "mlp"}.items():
            close(kernel.group(mine), next(value for key, value in groups.items() if key.startswith(start)))


def snapshot(network: nn.Module) -> list:
    values = [(k, v.clone()) for k, v in network.state_dict().items()]
    flags = [(k, id(p), p.requires_grad, p.grad) for k, p in network.named_parameters()]
    hooks = [len(m._forward_hooks) for m in network.modules()]
    return [values, flags, hooks, [m.training for m in network.modules()], [sorted(vars(m)) for m in network.modules()]]


def same(a: list, b: list) -> bool:
    values = all(k == q and torch.equal(v, w) for (k, v), (q, w) in zip(a[0], b[0], strict=True))
    return values and a[1:] == b[1:]


def test_network_is_untouched(nets: ModuleType) -> None:
    network, images = problem(nets)
    before = snapshot(network)
    tangent_kernel(network, images, params="all", output="probes")
    assert same(before, snapshot(network))
    network.head.weight.data[0, 0] = torch.nan
    before = snapshot(network)
    with pytest.raises(NumericalError):
        tangent_kernel(network, images, params="all")
    assert [len(m._forward_hooks) for m in network.modules()] == before[2]
    assert list(network._parameters) == ["cls_token", "pos_embed"]


def test_invariants(nets: ModuleType) -> None:
    network, images = problem(nets)
    kernel = tangent_kernel(network, images, params="all")
    order = torch.randperm(8)
    close(tangent_kernel(network, images[order], params="all").matrix, kernel.matrix[order][:, order])
    close(tangent_kernel(network, images, params="all", block_size=5).matrix, kernel.matrix)
    close(sum(kernel.parts.values()), kernel.matrix)
    close(sum(kernel.group(name) for name in kernel.groups), kernel.matrix)
    assert [block for block, _ in kernel.blocks("attention+mlp")] == [0, 1, 2]
    assert torch.equal(kernel.matrix, kernel.matrix.T)
    assert torch.linalg.eigvalsh(kernel.matrix)[0] > 0
    assert kernel.reliable
    assert torch.equal(tangent_kernel(network, images, params="all").matrix, kernel.matrix)
    close(tangent_kernel(network, images, params="all", groups=False).matrix, kernel.matrix)


def test_outputs(nets: ModuleType) -> None:
    network, images = problem(nets, "M1")
    traced = tangent_kernel(network, images, output="trace").matrix
    close(sum(tangent_kernel(network, images, output=index).matrix for index in range(3)), traced)
    probes = tangent_kernel(network, images, output="probes", probes=400, seed=3).matrix
    close(probes, traced, 0.2)
    dense = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    maps = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    pooled = nn.Sequential(dense, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    close(tangent_kernel(dense, maps, output=1).matrix, 16**2 * tangent_kernel(pooled, maps, output=1).matrix)
    assert tangent_kernel(dense, maps, output="probes", probes=2).matrix.shape == (3, 3)


def test_precision_and_flags(nets: ModuleType) -> None:
    network, images = problem(nets, dtype=torch.float32)
    near = images[:1] + 0.003 * torch.randn(8, 3, 32, 32)
    exact = tangent_kernel(network, near, dtype=torch.float64).condition_number()
    assert exact > 1e5
    auto = tangent_kernel(network, near)
    assert auto.condition_number() == pytest.approx(exact, rel=0.02)
    assert not tangent_kernel(network, near, precision="fast").reliable
    twins = tangent_kernel(network, torch.cat([images[:2], images[:2]]))
    assert not twins.reliable
    alone = tangent_kernel(network, images[:1])
    assert alone.matrix.shape == (1, 1)
    assert not alone.reliable
    coarse = tangent_kernel(network, images, autocast=torch.bfloat16)
    close(coarse.matrix, tangent_kernel(network, images).matrix, 0.05)


def test_sketch_is_close_and_seeded(nets: ModuleType) -> None:
    """Mixing outputs leaves the condition number in its place on average; mixing inputs raises it by a tenth."""
    network, images = problem(nets, "V3", 32)
    exact = tangent_kernel(network, images).condition_number()
    found = [tangent_kernel(network, images, sketch=64, seed=seed).condition_number() for seed in range(12)]
    errors = torch.tensor(found).div(exact).log()
    assert float(errors.mean().abs()) < 0.05
    assert float(errors.abs().max()) < 0.2
    sketched = tangent_kernel(network, images, sketch=64, seed=1)
    assert torch.equal(sketched.matrix, tangent_kernel(network, images, sketch=64, seed=1).matrix)
    assert not torch.equal(sketched.matrix, tangent_kernel(network, images, sketch=64, seed=2).matrix)


def test_operator_is_the_matrix(nets: ModuleType) -> None:
    for name in ("V1", "N1b"):
        network, images = problem(nets, name)
        vectors = torch.randn(8, 2, dtype=torch.float64)
        operator = KernelOperator(network, images, params="all", chunk=3)
        close(operator @ vectors, tangent_kernel(network, images, params="all").matrix @ vectors)
    with pytest.raises(InputError, match="vector"):
        operator @ torch.ones(3)


def test_frequency_response(nets: ModuleType) -> None:
    network, images = problem(nets)
    table = frequency_response(network, images, [1, 4, 8], seed=2)
    assert list(table.columns) == ["frequency", "group", "response"]
    assert set(table["group"]) >= {"all", "attention", "mlp"}
    assert (table["response"] > 0).all()
    half = frequency_response(network, images, [1], amplitude=1e-3)["response"]
    full = frequency_response(network, images, [1], amplitude=2e-3)["response"]
    assert (full / half).tolist() == pytest.approx([4] * len(full), rel=0.05)  # quadratic for small amplitudes


class Foreign(nn.Module):
    """Uses a parameter of its own in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Sideways(nn.Module):
    """Uses the weight of a Linear without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(nn.functional.linear(x, self.a.weight))


REFUSED = {
    "unknown layer": (lambda: nn.Sequential(nn.Linear(6, 6), Foreign()), UnsupportedModuleError, r"Foreign at '1'"),
    "functional": (Sideways, UnsupportedModuleError, r"Linear at 'a'.*without calling"),
    "attention": (
        lambda: nn.Sequential(nn.MultiheadAttention(6, 2)),
        UnsupportedModuleError,
        "MultiheadAttention at '0'",
    ),
    "recurrent": (lambda: nn.Sequential(nn.GRU(6, 3)), UnsupportedModuleError, "GRU at '0'"),
    "batch norm": (lambda: nn.Sequential(nn.BatchNorm1d(6)).train(), InputError, r"BatchNorm1d at '0'.*couple.*eval"),
    "dropout": (lambda: nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.1)).train(), InputError, "Dropout at '1'"),
    "tuple": (lambda: nn.Sequential(nn.Linear(6, 6), _tupled()), InputError, "returns tuple.*select"),
    "frozen": (lambda: nn.Linear(6, 3).requires_grad_(False), InputError, "no trainable parameter"),
}


def _tupled() -> nn.Module:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    return Split()


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    make, error, message = REFUSED[name]
    network = make()
    if name not in ("batch norm", "dropout"):
        network.eval()
    with pytest.raises(error, match=message):
        tangent_kernel(network, torch.randn(4, 6))


def test_bad_arguments() -> None:
    network, x = nn.Linear(6, 3).eval(), torch.randn(4, 6)
    for options in ({"output": "logits"}, {"output": 3}, {"output": True}, {"params": "bias"}, {"precision": "half"}):
        with pytest.raises(InputError):
            tangent_kernel(network, x, **options)
    for options in ({"sketch": 0}, {"block_size": 0}, {"probes": 0}):
        with pytest.raises(InputError):
            tangent_kernel(network, x, **options)
    with pytest.raises(NumericalError, match="images"):
        tangent_kernel(network, x * torch.nan)
    with pytest.raises(InputError, match="this network has"):
        tangent_kernel(network, x).group("attention+mlp")
    pair = nn.Sequential(nn.Linear(6, 6), _tupled()).eval()
    assert tangent_kernel(pair, x, select=lambda out: out[0]).matrix.shape == (4, 4)
    assert tangent_kernel(network, x, params=lambda name, p: p.ndim == 1).matrix.allclose(torch.tensor(3.0).double())


def test_frozen_weights_are_left_out(nets: ModuleType) -> None:
    network, images = problem(nets)
    mlp = tangent_kernel(network, images).group("mlp")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("mlp" in name)
    close(tangent_kernel(network, images).matrix, mlp)


def test_weights_of_some_groups_alone_give_their_part_of_the_kernel(nets: ModuleType) -> None:
    network, images = problem(nets)
    whole = tangent_kernel(network, images)
    blocks = tangent_kernel(network, images, params=weights_in(network, "attention+mlp"))
    assert set(blocks.groups) == {"attention", "mlp"}
    close(blocks.matrix, whole.group("attention+mlp"))
    with pytest.raises(InputError, match="layer group: got 'atention'"):
        weights_in(network, "atention+mlp")


def test_layer_groups() -> None:
    linear, norm = nn.Linear(2, 2), nn.LayerNorm(2)
    assert layer_group("blocks.3.attn.qkv", linear) == ("attention", 3)
    assert layer_group("blocks.3.norm1", norm) == ("norm", 3)
    assert layer_group("patch_embed.proj", nn.Conv2d(3, 4, 2)) == ("patch_embed", None)
    assert layer_group("pos_embed", linear) == ("position", None)
    assert layer_group("head", linear) == ("head", None)
    assert layer_group("stages.1.blocks.2.mlp.fc1", linear) == ("mlp", 2)


def test_memory_is_returned(nets: ModuleType) -> None:
    network, images = problem(nets, "M1")

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    tangent_kernel(network, images)
    before = living()
    for _ in range(50):
        tangent_kernel(network, images, params="all")
    assert living() <= before


class TokensFirst(nn.Module):
    """Puts tokens before samples, as sequence models do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x.transpose(0, 1))).mean(0))


def test_tokens_before_samples_are_refused() -> None:
    torch.manual_seed(0)
    network = TokensFirst().eval()
    with pytest.raises(UnsupportedModuleError, match="no multiple"):
        tangent_kernel(network, torch.randn(4, 7, 6))
    with pytest.raises(UnsupportedModuleError, match="outermost"):
        tangent_kernel(network, torch.randn(4, 8, 6))
