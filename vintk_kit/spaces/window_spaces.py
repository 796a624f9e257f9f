"""The As-ViT topology space and a small Swin-like space in the manner of AutoFormerV2 (S3)."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import nn

from vintk_kit.errors import bad_value
from vintk_kit.spaces.base import Architecture, SearchSpace
from vintk_kit.spaces.windows import WindowStage, window_params, window_skeleton


class WindowSpace(SearchSpace):
    """What both spaces share: stages in, networks and counts out."""

    positions = False
    wide_head = False

    @abstractmethod
    def stages(self, arch: Architecture, image_size: int) -> tuple[WindowStage, ...]:
        """The four stages of an architecture."""

    @abstractmethod
    def kernel(self, arch: Architecture) -> int:
        """Kernel of the patch stem."""

    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        """The network on the meta device."""
        stages = self.stages(arch, image_size)
        extras = {"positions": self.positions, "wide_head": self.wide_head}
        return window_skeleton(stages, self.kernel(arch), in_channels, num_classes, **extras)

    def params(
        self, arch: Architecture, *, in_channels: int = 3, num_classes: int | None = None, image_size: int | None = None
    ) -> int:
        """Number of parameters, by formula; equal to the built network's count."""
        arch, channels, classes, size = self.resolve(arch, in_channels, num_classes, image_size)
        extras = {"positions": self.positions, "wide_head": self.wide_head}
        return window_params(self.stages(arch, size), self.kernel(arch), channels, classes, **extras)

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        """Truncated normal 0.02, torch's default for the patch projection."""
        if len(shape) == 4:
            return ("uniform", (shape[1] * shape[2] * shape[3]) ** -0.5)
        return super().initial(name, shape)


class AsViT(WindowSpace):
    """As-ViT's topologies: overlapping patches and mergings, window splits, MLP expansions, heads; width 32, one block
    per stage.

    `heads` counts those of the last stage; each earlier stage has half as many.
    """

    name = "as-vit"
    reference = "Chen et al., As-ViT, ICLR 2022 (arXiv 2202.11921); released search space"
    wide_head = True
    choices = {
        "kernel1": (4, 5, 6, 7, 8),
        "kernel2": (2, 3, 4),
        "kernel3": (2, 3, 4),
        "kernel4": (2, 3, 4),
        "split1": (2, 4, 8),
        "split2": (1, 2, 4),
        "split3": (1, 2),
        "expansion": (2, 3, 4, 5, 6),
        "heads": (16, 32, 64),
    }
    lengths = {"expansion": 4}
    hidden_dim = 32

    def published(self) -> dict[str, Architecture]:
        """The seed topology that the paper scales up."""
        return {"As-ViT-seed": self.parse("8,2,3|4,1,2|4,1,4|4,1,6|32")}

    def parse(self, text: str) -> Architecture:
        """Reads `K1,S1,E1|K2,S2,E2|K3,S3,E3|K4,1,E4|heads`, or JSON."""
        if text.lstrip().startswith("{"):
            return super().parse(text)
        if not re.fullmatch(r"(\d+,\d+,\d+\|){4}\d+", text.strip()):
            raise bad_value("as-vit architecture", text, "K1,S1,E1|K2,S2,E2|K3,S3,E3|K4,1,E4|heads")
        *stages, heads = text.strip().split("|")
        (k1, s1, e1), (k2, s2, e2), (k3, s3, e3), (k4, s4, e4) = (map(int, stage.split(",")) for stage in stages)
        if s4 != 1:
            raise bad_value("as-vit field 'split4'", s4, "1")
        return self.architecture(
            kernel1=k1, kernel2=k2, kernel3=k3, kernel4=k4, split1=s1, split2=s2, split3=s3,
            expansion=(e1, e2, e3, e4), heads=heads if isinstance(heads, int) else int(heads),
        )  # fmt: skip

    def to_string(self, arch: Architecture) -> str:
        """The released architecture string."""
        splits = (arch["split1"], arch["split2"], arch["split3"], 1)
        kernels = (arch[f"kernel{i}"] for i in (1, 2, 3, 4))
        stages = zip(kernels, splits, arch["expansion"], strict=True)
        return "|".join([*(f"{k},{s},{e}" for k, s, e in stages), str(arch["heads"])])

    def check_buildable(self, choices: Mapping[str, Any]) -> None:
        """Kernels reach at least their stride; heads halve three times and divide the width."""
        for name, stride in (("kernel1", 4), ("kernel2", 2), ("kernel3", 2), ("kernel4", 2)):
            if choices[name] < stride:
                raise bad_value(f"{self.name} field {name!r}", choices[name], f"at least the stride {stride}")
        if choices["heads"] % 8 or (8 * self.hidden_dim) % choices["heads"]:
            raise bad_value(f"{self.name} field 'heads'", choices["heads"], "8, 16, 32, 64, 128 or 256")

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """Every stage must divide into its windows."""
        if image_size % 32:
            raise bad_value("image_size", image_size, "multiples of 32")
        for i, split in enumerate((arch["split1"], arch["split2"], arch["split3"])):
            side = image_size // (4 * 2**i)
            if side % split:
                raise bad_value("image_size", image_size, f"sizes whose stage {i + 1} ({side} wide) splits by {split}")

    def stages(self, arch: Architecture, image_size: int) -> tuple[WindowStage, ...]:
        """Four stages of one block."""
        splits = (arch["split1"], arch["split2"], arch["split3"], 1)
        merges = (arch["kernel2"], arch["kernel3"], arch["kernel4"], None)
        found = []
        for i, (split, merge, ratio) in enumerate(zip(splits, merges, arch["expansion"], strict=True)):
            dim, side = self.hidden_dim * 2**i, image_size // (4 * 2**i)
            heads = arch["heads"] // 2 ** (3 - i)
            found.append(WindowStage(dim, 1, heads, ratio * dim, side, side // split, merge))
        return tuple(found)

    def kernel(self, arch: Architecture) -> int:
        """Kernel of the patch stem."""
        return arch["kernel1"]

    def largest(self) -> list[Architecture]:
        """One network per kernel, with the widest MLPs."""
        top = {name: max(options) for name, options in self.choices.items()}
        # A split of 1 fits every image size.
        top |= {"split1": 1, "split2": 1, "split3": 1, "expansion": (max(self.choices["expansion"]),) * 4}
        found = []
        for index, kernel in enumerate(self.choices["kernel1"]):
            merge = self.choices["kernel2"][min(index, len(self.choices["kernel2"]) - 1)]
            kernels = {"kernel1": kernel, "kernel2": merge, "kernel3": merge, "kernel4": merge}
            found.append(self.architecture(**top | kernels))
        return found

    def weight_name(self, arch: Architecture, name: str) -> str:
        """Projections of different kernels are different tensors."""
        if name.startswith("patch_embed.proj"):
            return f"{name}@{arch['kernel1']}"
        found = re.match(r"stages\.(\d)\.merge\.", name)
        return f"{name}@{arch[f'kernel{int(found[1]) + 2}']}" if found else name


class SwinS3(WindowSpace):
    """A small Swin-like space: width, blocks of the third stage, and window and MLP ratio of each stage.

    Shifted windows in every second block; heads 32 wide; absolute positions instead of Swin's bias tables. Windows
    are those at 224 pixels (7 or 14) and scale with the image, so that every multiple of 32 fits.
    """

    name = "swin-s3"
    reference = "In the manner of Chen et al., AutoFormerV2 (S3), NeurIPS 2021 (arXiv 2111.14725), reduced"
    positions = True
    choices = {
        "embed_dim": (32, 64, 96),
        "depth3": (2, 4, 6),
        "window": (7, 14),
        "mlp_ratio": (3.0, 3.5, 4.0),
    }
    lengths = {"window": 3, "mlp_ratio": 4}

    def published(self) -> dict[str, Architecture]:
        """S3-T: 7-pixel windows but in the third stage."""
        return {"S3-T": self.architecture(embed_dim=96, depth3=6, window=(7, 7, 14), mlp_ratio=(4, 4, 4, 4))}

    def check_buildable(self, choices: Mapping[str, Any]) -> None:
        """Heads are 32 wide; windows divide the grid of tokens."""
        if choices["embed_dim"] % 32:
            raise bad_value(f"{self.name} field 'embed_dim'", choices["embed_dim"], "multiples of 32")
        for index, window in enumerate(choices["window"]):
            if (56 // 2**index) % window:
                allowed = f"divisors of {56 // 2**index}"
                raise bad_value(f"{self.name} field 'window[{index}]'", window, allowed)

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """Four halvings after patches of four pixels, and whole windows."""
        if image_size % 32 or any(window * image_size % 224 for window in arch["window"]):
            raise bad_value("image_size", image_size, "multiples of 32 with whole windows")

    def stages(self, arch: Architecture, image_size: int) -> tuple[WindowStage, ...]:
        """Stages of 2, 2, depth3 and 2 blocks."""
        depths, windows, found = (2, 2, arch["depth3"], 2), (*arch["window"], 7), []
        for i, (depth, window, ratio) in enumerate(zip(depths, windows, arch["mlp_ratio"], strict=True)):
            dim, side = arch["embed_dim"] * 2**i, image_size // (4 * 2**i)
            hidden, scaled = int(dim * ratio), window * image_size // 224
            found.append(WindowStage(dim, depth, dim // 32, hidden, side, scaled, 2 if i < 3 else None, True))
        return tuple(found)

    def kernel(self, arch: Architecture) -> int:
        """Patches do not overlap."""
        return 4

    def largest(self) -> list[Architecture]:
        """The widest, deepest network."""
        return [self.architecture(embed_dim=96, depth3=6, window=(7, 7, 7), mlp_ratio=(4.0,) * 4)]
