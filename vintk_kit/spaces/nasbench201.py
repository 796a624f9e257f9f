"""NAS-Bench-201: cells of six edges, the convolutional control experiment."""

from __future__ import annotations

import re
from functools import lru_cache

import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value
from vintk_kit.spaces.base import Architecture, SearchSpace
from vintk_kit.spaces.weights import clone_skeleton

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from, to) of each edge, in the order of the architecture string."""

KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


class Zero(nn.Module):
    """The operation `none`."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of the input's shape."""
        return torch.zeros_like(x)


class ReLUConvBN(nn.Module):
    """ReLU, convolution without bias, batch norm."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False, device="meta")
        self.bn = nn.BatchNorm2d(out, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> (N, out, h / stride, w / stride)."""
        return self.bn(self.conv(self.relu(x)))


class Cell(nn.Module):
    """Four nodes; a node is the sum of its incoming edges."""

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_operation(name, channels) for name in operations)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> (N, c, h, w)."""
        nodes = [x]
        for node in (1, 2, 3):
            incoming = [edge(nodes[a]) for (a, b), edge in zip(EDGES, self.edges, strict=True) if b == node]
            nodes.append(sum(incoming[1:], incoming[0]))
        return nodes[-1]


def _operation(name: str, channels: int) -> nn.Module:
    if name in KERNELS:
        return ReLUConvBN(channels, channels, KERNELS[name])
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Identity() if name == "skip_connect" else Zero()


class Reduction(nn.Module):
    """Residual block that halves the side and doubles the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(channels, 2 * channels, 3, 2)
        self.conv_b = ReLUConvBN(2 * channels, 2 * channels, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2), nn.Conv2d(channels, 2 * channels, 1, bias=False, device="meta")
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> (N, 2c, h/2, w/2)."""
        return self.shortcut(x) + self.conv_b(self.conv_a(x))


class CellNetwork(nn.Module):
    """Stem, three stages of cells with a reduction before the second and third, batch norm, mean, classifier."""

    def __init__(self, channels: int, in_channels: int, classes: int, cells: list[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False, device="meta"),
            nn.BatchNorm2d(channels, device="meta"),
        )
        self.cells = nn.ModuleList(cells)
        self.lastact = nn.Sequential(nn.BatchNorm2d(4 * channels, device="meta"), nn.ReLU())
        self.classifier = nn.Linear(4 * channels, classes, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> logits (N, C)."""
        if x.device.type == "cpu":
            # Channels last in memory: pools and narrow convolutions are up to three times faster so. Written with
            # `movedim`, because `contiguous(memory_format=...)` does not work inside `torch.func.vmap`.
            x = x.movedim(1, -1).contiguous().movedim(-1, 1)
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return self.classifier(self.lastact(x).mean((2, 3)))


@lru_cache(maxsize=1024)
def _cell_template(operations: tuple[str, ...], channels: int) -> Cell:
    return Cell(operations, channels).eval()


@lru_cache(maxsize=16)
def _reduction_template(channels: int) -> Reduction:
    return Reduction(channels).eval()


@lru_cache(maxsize=64)
def _shell_template(channels: int, in_channels: int, classes: int) -> CellNetwork:
    return CellNetwork(channels, in_channels, classes, []).eval()


class NASBench201(SearchSpace):
    """15,625 cells: one of five operations on each of six edges.

    Args:
        channels: Channels of the first stage (16 in the benchmark).
        cells: Cells per stage (5 in the benchmark).
    """

    name = "nasbench201"
    reference = "Dong and Yang, NAS-Bench-201, ICLR 2020 (arXiv 2001.00326)"
    image_size, num_classes = 32, 10
    choices = {"operations": OPERATIONS}
    lengths = {"operations": 6}

    def __init__(self, channels: int = 16, cells: int = 5) -> None:
        for what, value in (("channels", channels), ("cells", cells)):
            if not isinstance(value, int) or value < 1:
                raise bad_value(what, value, "a whole number of at least 1")
        self.channels, self.cells = channels, cells

    # ---- strings ------------------------------------------------------------------------------------------------

    def parse(self, text: str) -> Architecture:
        """Reads `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, or JSON."""
        if not text.lstrip().startswith("|"):
            return super().parse(text)
        edges = re.findall(r"([^|+~\s]+)~(\d)", text)
        arch = Architecture(self.name, (("operations", tuple(name for name, _ in edges)),))
        if [int(source) for _, source in edges] != [source for source, _ in EDGES]:
            raise bad_value("nasbench201 architecture", text, "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
        return self.validate(arch)

    def to_string(self, arch: Architecture) -> str:
        """The benchmark's architecture string."""
        nodes = [
            "|".join(f"{name}~{a}" for (a, b), name in zip(EDGES, arch["operations"], strict=True) if b == node)
            for node in (1, 2, 3)
        ]
        return "+".join(f"|{node}|" for node in nodes)

    def unique_string(self, arch: Architecture) -> str:
        """A string shared by the cells that compute the same function: order of sums, skips and dead edges removed."""
        nodes = ["0"]
        for node in (1, 2, 3):
            incoming = zip(EDGES, arch["operations"], strict=True)
            nodes.append("+".join(sorted(_term(nodes[a], name) for (a, b), name in incoming if b == node)))
        return nodes[-1]

    # ---- networks -----------------------------------------------------------------------------------------------

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """Two reductions halve the side."""
        if image_size % 4:
            raise bad_value("image_size", image_size, "multiples of 4")

    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> CellNetwork:
        """The network on the meta device, assembled from cached parts."""
        network = clone_skeleton(_shell_template(self.channels, in_channels, num_classes))
        for stage in range(3):
            if stage:
                network.cells.append(clone_skeleton(_reduction_template(self.channels * 2 ** (stage - 1))))
            cell = _cell_template(arch["operations"], self.channels * 2**stage)
            network.cells.extend(clone_skeleton(cell) for _ in range(self.cells))
        return network

    def largest(self) -> list[Architecture]:
        """All 1x1 and all 3x3 convolutions: together they hold every operation's weights."""
        return [self.architecture(operations=(name,) * 6) for name in KERNELS]

    def weight_name(self, arch: Architecture, name: str) -> str:
        """Each operation of an edge has its own weights."""
        edge = _edge(name)
        return name if edge is None else f"{name}@{arch['operations'][edge]}"

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        """torch's default, as the benchmark's networks start.

        In evaluation mode batch norm does not rescale; He's larger draw would grow to 1e5 over the seventeen blocks.
        """
        if len(shape) == 4:
            return ("uniform", (shape[1] * shape[2] * shape[3]) ** -0.5)
        if name == "classifier.weight":
            return ("uniform", shape[1] ** -0.5)
        return super().initial(name, shape)

    def params(
        self, arch: Architecture, *, in_channels: int = 3, num_classes: int | None = None, image_size: int | None = None
    ) -> int:
        """Number of parameters, by formula; equal to the built network's count."""
        arch, channels, classes, _ = self.resolve(arch, in_channels, num_classes, image_size)
        base = self.channels
        total = base * (9 * channels + 2) + 8 * base + classes * (4 * base + 1)
        for width in (base, 2 * base):
            total += 2 * width * (9 * width + 2 + 18 * width + 2 + width)
        for width in (base, 2 * base, 4 * base):
            areas = [KERNELS[name] ** 2 for name in arch["operations"] if name in KERNELS]
            total += self.cells * sum(width * (area * width + 2) for area in areas)
        return total

    def macs(
        self,
        arch: Architecture,
        *,
        in_channels: int = 3,
        num_classes: int | None = None,
        image_size: int | None = None,
    ) -> int:
        """Multiply-accumulates of the convolutions and the classifier for one image, by formula."""
        arch, channels, classes, size = self.resolve(arch, in_channels, num_classes, image_size)
        base = self.channels
        total = size**2 * 9 * channels * base + 4 * base * classes
        area = sum(KERNELS[name] ** 2 for name in arch["operations"] if name in KERNELS)
        for stage in range(3):
            width, pixels = base * 2**stage, (size // 2**stage) ** 2
            total += pixels * self.cells * area * width**2
            if stage:
                total += pixels * width * (9 * width // 2 + 9 * width + width // 2)
        return total


@lru_cache(maxsize=4096)
def _edge(name: str) -> int | None:
    """Number of the edge that a parameter belongs to; None outside cells."""
    found = re.search(r"\.edges\.(\d)\.", name)
    return int(found[1]) if found else None


def _term(source: str, operation: str) -> str:
    if operation == "none" or source == "#":
        return "#"
    return source if operation == "skip_connect" else f"({source})@{operation}"
