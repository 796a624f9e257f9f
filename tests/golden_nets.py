"""The networks and inputs on which the reference numbers were computed, from their written recipe."""

from __future__ import annotations

import math

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

_VIT = {
    "V1": {"embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 4.0, "global_pool": "token"},
    "V2": {"embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 3.5, "global_pool": "avg", "class_token": False},
    "V3": {"embed_dim": 128, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "global_pool": "avg", "fc_norm": False},
}
_VIT["V1k"] = {**_VIT["V1"], "num_classes": 1000}
_CELLS = {
    "N1a": "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|",
    "N1b": "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
}
NETS = (*_VIT, "C1", "M1", *_CELLS)


class Zero(nn.Module):
    """The operation `none`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def conv_block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs))


class Cell(nn.Module):
    """A NAS-Bench-201 cell: node j is the sum of operations on the nodes before it."""

    def __init__(self, text: str, width: int) -> None:
        super().__init__()
        make = {
            "none": Zero,
            "skip_connect": nn.Identity,
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            "nor_conv_1x1": lambda: conv_block(width, width, 1, 1),
            "nor_conv_3x3": lambda: conv_block(width, width, 3, 1),
        }
        nodes = [[part.split("~") for part in node.strip("|").split("|")] for node in text.split("+")]
        self.sources = [[int(source) for _, source in node] for node in nodes]
        self.edges = nn.ModuleList(make[name]() for node in nodes for name, _ in node)

    def forward(self, x: Tensor) -> Tensor:
        values, edges = [x], iter(self.edges)
        for node in self.sources:
            values.append(sum(next(edges)(values[source]) for source in node))
        return values[-1]


class Reduction(nn.Module):
    """The residual block between stages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a, self.b = conv_block(inputs, outputs, 3, 2), conv_block(outputs, outputs, 3, 1)
        self.short = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.b(self.a(x))


class CellNetwork(nn.Module):
    """Stem, three stages of cells, head."""

    def __init__(self, text: str, width: int = 4, cells: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        body: list[nn.Module] = []
        for stage in range(3):
            if stage:
                body.append(Reduction(width, 2 * width))
                width *= 2
            body += [Cell(text, width) for _ in range(cells)]
        self.body = nn.ModuleList(body)
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for module in self.body:
            x = module(x)
        return self.fc(self.last(x).mean((2, 3)))


def _skeleton(name: str) -> nn.Module:
    if name in _VIT:
        network = VisionTransformer(img_size=32, patch_size=8, **{"num_classes": 10, **_VIT[name]})
        for block in network.blocks:
            block.attn.fused_attn = False
        return network
    if name in _CELLS:
        return CellNetwork(_CELLS[name])
    if name == "M1":
        return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    conv = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)]
    body = [conv[0], nn.BatchNorm2d(8), nn.ReLU(), conv[1], nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def build(name: str, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Builds a network, filled from one legacy numpy stream in the order of parameters, then of batch norms."""
    network = _skeleton(name).to(dtype)
    stream = np.random.RandomState(seed)

    def put(target: Tensor, values: np.ndarray) -> None:
        target.data.copy_(torch.from_numpy(np.asarray(values)))

    for path, parameter in network.named_parameters():
        z = stream.randn(*parameter.shape)
        if parameter.ndim == 1:
            put(parameter, 1 + 0.1 * z if path.endswith("weight") else 0.1 * z)
        elif path.endswith("weight"):
            put(parameter, z / math.sqrt(parameter[0].numel()))
        else:
            put(parameter, 0.2 * z)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            put(module.running_mean, 0.1 * stream.randn(module.num_features))
            put(module.running_var, 1 + 0.2 * stream.rand(module.num_features))
    return network.eval()


def inputs(name: str, seed: int, dtype: torch.dtype = torch.float64, n: int = 8) -> tuple[Tensor, Tensor]:
    """Returns images (N, ...) and labels (N,)."""
    shape = (n, 5) if name == "M1" else (n, 3, 32, 32)
    classes = 3 if name == "M1" else _VIT.get(name, {}).get("num_classes", 10)
    x = np.random.RandomState(1000 + seed).randn(*shape)
    y = np.random.RandomState(2000 + seed).randint(0, classes, size=n)
    return torch.from_numpy(x).to(dtype), torch.from_numpy(y.astype(np.int64))
