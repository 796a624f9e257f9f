"""The `hybrid-hr` space: what each branch of a multi-resolution network does in each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from vintk_kit.errors import bad_value
from vintk_kit.segmentation.network import COARSEST, STRIDES, Cell, HybridHRNet
from vintk_kit.spaces.base import Architecture, SearchSpace

BRANCHES = len(STRIDES)
CELLS = tuple((stage, branch) for stage in range(BRANCHES) for branch in range(stage + 1))
"""Stage and branch of every cell: stage s has s + 1 branches, each at half the resolution of the one before."""


class HybridHR(SearchSpace):
    """Multi-resolution hybrid networks in the spirit of HR-NAS and HRViT; the choices are our own.

    Four stages; stage s runs s + 1 branches in parallel, at strides 4, 8, 16, 32, and fuses them. `width`, `window` and
    `kernel` are lists per branch, `mixer`, `depth` and `expansion` lists per cell in the order of `CELLS`: (stage 1,
    branch 1), (stage 2, branch 1), (stage 2, branch 2), ... Branch b is `width[b] * 2**b` wide with 2**b heads.

    The network gives dense logits (N, C, H / 4, W / 4) by a linear head; image sides are multiples of 32.
    """

    name = "hybrid-hr"
    reference = "own table; multi-branch design after HRNet, HR-NAS (CVPR 2021) and HRViT (CVPR 2022)"
    image_size = 128
    num_classes = 6
    choices = {
        "width": (24, 32, 48, 64),
        "window": (4, 8),
        "kernel": (3, 5, 7),
        "mixer": ("attention", "conv", "both"),
        "depth": (1, 2, 3),
        "expansion": (2, 3, 4),
    }
    lengths = {
        "width": BRANCHES, "window": BRANCHES, "kernel": BRANCHES,
        "mixer": len(CELLS), "depth": len(CELLS), "expansion": len(CELLS),
    }  # fmt: skip

    def stages(self, arch: Architecture) -> tuple[tuple[Cell, ...], ...]:
        """The cells of every stage."""
        found: list[list[Cell]] = [[] for _ in range(BRANCHES)]
        for index, (stage, branch) in enumerate(CELLS):
            dim = arch["width"][branch] * 2**branch
            found[stage].append(Cell(
                dim, 2**branch, arch["depth"][index], arch["mixer"][index], arch["expansion"][index] * dim,
                arch["window"][branch], arch["kernel"][branch],
            ))  # fmt: skip
        return tuple(map(tuple, found))

    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        """The network on the meta device; `image_size` plays no part."""
        return HybridHRNet(self.stages(arch), in_channels, num_classes).eval()

    def params(
        self, arch: Architecture, *, in_channels: int = 3, num_classes: int | None = None, image_size: int | None = None
    ) -> int:
        """Number of parameters, by formula; equal to the built network's count."""
        arch, channels, classes, _ = self.resolve(arch, in_channels, num_classes, image_size)
        stages = self.stages(arch)
        dims = [cell.dim for cell in stages[-1]]
        total = 9 * dims[0] * (channels + dims[0]) + 4 * dims[0] + sum(dim * (2 + classes) + classes for dim in dims)
        for index, cells in enumerate(stages):
            total += sum(map(_cell_params, cells))
            if index:
                total += dims[index] * (4 * dims[index - 1] + 1) + _fusion_params(dims[: index + 1])
        return total

    def largest(self) -> list[Architecture]:
        """The architecture with every choice at its largest."""
        biggest = {name: "both" if name == "mixer" else max(options) for name, options in self.choices.items()}
        return [self.architecture(**{name: (value,) * self.lengths[name] for name, value in biggest.items()})]

    def smallest(self) -> Architecture:
        """The architecture with the fewest parameters."""
        least = {name: "conv" if name == "mixer" else min(options) for name, options in self.choices.items()}
        return self.architecture(**{name: (value,) * self.lengths[name] for name, value in least.items()})

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        """Torch's default bound for convolutions, normal 0.02 for Linear layers."""
        if len(shape) == 4:
            return ("uniform", (shape[1] * shape[2] * shape[3]) ** -0.5)
        return super().initial(name, shape)

    def check_buildable(self, choices: Mapping[str, Any]) -> None:
        """Kernels are odd."""
        for kernel in choices["kernel"]:
            if kernel % 2 == 0:
                raise bad_value(f"{self.name} field 'kernel'", kernel, "odd numbers")

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """Every branch must divide the image."""
        if image_size % COARSEST:
            raise bad_value("image_size", image_size, f"multiples of {COARSEST}")

    def describe(self):
        """A table of the choices; lists are per branch or per cell (stage and branch)."""
        frame = super().describe()
        per = {BRANCHES: "per branch", len(CELLS): "per stage and branch"}
        frame["chosen"] = [per[self.lengths[name]] for name in frame["field"]]
        return frame


def _cell_params(cell: Cell) -> int:
    dim, one = cell.dim, 4 * cell.dim + cell.hidden * (2 * cell.dim + 1) + cell.dim
    if cell.mixer != "conv":
        one += 4 * dim * (dim + 1)
    if cell.mixer != "attention":
        one += dim * (cell.kernel**2 + dim + 2)
    return cell.depth * one


def _fusion_params(dims: list[int]) -> int:
    paths = [(i, j) for i in range(len(dims)) for j in range(len(dims)) if i != j]
    return 2 * sum(dims) + sum(dims[i] * (dims[j] * (4 ** (i - j) if j < i else 1) + 1) for i, j in paths)
