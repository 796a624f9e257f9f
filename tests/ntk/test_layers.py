"""The fast kernel equals the slow one, layer by layer and for whole networks."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from vintk_kit.ntk import KernelOperator, frequency_response, loop_kernel, rules, tangent_kernel


class Then(nn.Module):
    """A layer, a nonlinearity and a mean over everything but samples and channels."""

    def __init__(self, *layers: nn.Module, head: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.head = nn.LazyLinear(head)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sin(self.layers(x)).flatten(1)
        return self.head(y)


class Twice(nn.Module):
    """One Linear used twice, and one weight shared by two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(self.b(torch.tanh(self.a(torch.tanh(self.a(x)))))).mean(1))


class Lookup(nn.Module):
    """An embedding of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.table(x)).mean(1))


def maps(*shape: int) -> Tensor:
    return torch.randn(4, *shape)


LAYERS = {
    "linear": lambda: (Then(nn.Linear(6, 4)), maps(6)),
    "linear-tokens": lambda: (Then(nn.Linear(6, 4)), maps(3, 6)),
    "linear-maps": lambda: (Then(nn.Linear(6, 4)), maps(3, 2, 6)),
    "layer-norm": lambda: (Then(nn.LayerNorm(6)), maps(3, 6)),
    "layer-norm-vector": lambda: (Then(nn.LayerNorm(6)), maps(6)),
    "layer-norm-2": lambda: (Then(nn.LayerNorm((3, 6))), maps(2, 3, 6)),
    "group-norm": lambda: (Then(nn.GroupNorm(2, 6)), maps(6, 5, 5)),
    "conv": lambda: (Then(nn.Conv2d(3, 4, 3)), maps(3, 7, 7)),
    "conv-stride-dilation": lambda: (Then(nn.Conv2d(3, 4, 3, 2, 2, dilation=2)), maps(3, 9, 8)),
    "conv-same": lambda: (Then(nn.Conv2d(3, 4, (1, 3), padding="same")), maps(3, 6, 7)),
    "conv-reflect": lambda: (Then(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")), maps(3, 6, 7)),
    "conv-patch": lambda: (Then(nn.Conv2d(3, 4, 4, 4)), maps(3, 9, 8)),
    "conv-1x1": lambda: (Then(nn.Conv2d(3, 4, 1, 2)), maps(3, 7, 6)),
    "conv-groups": lambda: (Then(nn.Conv2d(4, 6, 3, 2, 1, groups=2)), maps(4, 7, 7)),
    "conv-depthwise": lambda: (Then(nn.Conv2d(4, 8, 3, 1, 2, groups=4, dilation=2)), maps(4, 7, 7)),
    "conv-1d": lambda: (Then(nn.Conv1d(3, 4, 3, 2)), maps(3, 9)),
    "conv-3d": lambda: (Then(nn.Conv3d(2, 3, 2)), maps(2, 4, 3, 4)),
    "conv-transposed": lambda: (Then(nn.ConvTranspose2d(3, 4, 3, 2)), maps(3, 4, 5)),
    "instance-norm": lambda: (Then(nn.InstanceNorm2d(3, affine=True)), maps(3, 5, 5)),
    "rms-norm": lambda: (Then(nn.RMSNorm(6)), maps(3, 6)),
    "prelu": lambda: (Then(nn.PReLU(3)), maps(3, 5)),
    "batch-norm": lambda: (Then(nn.BatchNorm2d(3)), maps(3, 5, 5)),
    "batch-norm-vector": lambda: (Then(nn.BatchNorm1d(6)), maps(6)),
    "inplace": lambda: (Then(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)), maps(3, 5, 5)),
    "twice": lambda: (Twice(), maps(3, 6)),
    "embedding": lambda: (Lookup(), torch.randint(0, 7, (4, 5))),
}


CONV2D = [name for name in LAYERS if name.startswith("conv") and name not in ("conv-1d", "conv-3d", "conv-transposed")]


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    torch.manual_seed(0)
    network, x = LAYERS[name]()
    network(x)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
    network.double()
    x = x.double() if x.is_floating_point() else x
    for params in ("all", "weights"):
        slow = loop_kernel(network, x, params=params)
        torch.testing.assert_close(tangent_kernel(network, x, params=params).matrix, slow, rtol=1e-10, atol=1e-10)
    single = tangent_kernel(network.float(), x.float() if x.is_floating_point() else x, params="all").matrix
    whole = loop_kernel(network.double(), x, params="all")
    assert float((single - whole).abs().max() / whole.abs().max()) < 1e-5


class InBothLayouts(nn.Module):
    """One convolution used on maps in both memory layouts, whose gradients come in two forms and are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, (3, 2), padding=(1, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x).tanh()
        return self.conv(y.contiguous(memory_format=OTHER[y.is_contiguous()])).flatten(1)


OTHER = {True: torch.channels_last, False: torch.contiguous_format}


@pytest.mark.parametrize("name", [*CONV2D, "again"])
@pytest.mark.parametrize("explicit", [0, 1 << 23])
def test_convolutions_in_every_memory_layout(name: str, explicit: int, monkeypatch) -> None:
    monkeypatch.setattr(rules, "EXPLICIT", explicit)
    torch.manual_seed(0)
    network, x = (InBothLayouts(), maps(3, 6, 7)) if name == "again" else LAYERS[name]()
    network, x = network.eval().double(), x.double()
    network(x)
    slow = loop_kernel(network, x, params="all")
    vector = torch.randn(len(x), dtype=torch.float64)
    for layout in OTHER.values():
        images = x.contiguous(memory_format=layout)
        torch.testing.assert_close(tangent_kernel(network, images, params="all").matrix, slow, rtol=1e-10, atol=1e-10)
        product = KernelOperator(network, images, params="all") @ vector
        torch.testing.assert_close(product, slow @ vector, rtol=1e-10, atol=1e-10)
        response = [frequency_response(network, y, [2], params="all")["response"] for y in (x, images)]
        assert list(response[0]) == pytest.approx(list(response[1]), rel=1e-10)


def test_a_sketch_of_windows_keeps_the_kernel() -> None:
    torch.manual_seed(0)
    network = Then(nn.Conv2d(40, 400, 3, padding=1, bias=False)).eval()
    images = maps(40, 6, 6).contiguous(memory_format=torch.channels_last)
    network(images)
    exact = tangent_kernel(network, images).matrix
    sketches = [tangent_kernel(network, images, sketch=64, seed=seed).matrix for seed in range(24)]
    deviations = torch.stack(sketches) / exact.diagonal().mean() - exact / exact.diagonal().mean()
    assert 0 < float(deviations.abs().max()) < 0.5
    assert float(deviations.mean(0).abs().max()) < 0.08  # unbiased: the mean of many is close


TIMM = {
    "deit": ("deit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}),
    "deit-distilled": (
        "deit_tiny_distilled_patch16_224",
        {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
    ),
    "vit-layerscale": ("deit3_small_patch16_224", {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
    ),
    "pit": ("pit_ti_224", {"img_size": 64}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}),
    "resnet": ("resnet10t", {}),
    "mobilevit": ("mobilevit_xxs", {}),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    model, options = TIMM[name]
    torch.manual_seed(1)
    network = timm.create_model(model, num_classes=4, **options).eval().double()
    x = torch.randn(3, 3, options.get("img_size", 32), options.get("img_size", 32), dtype=torch.float64)
    slow = loop_kernel(network, x, params="all")
    fast = tangent_kernel(network, x, params="all")
    torch.testing.assert_close(fast.matrix, slow, rtol=1e-9, atol=1e-9 * float(slow.abs().max()))
