"""What every search space shares beyond its table: networks, their initial weights, their sizes."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod

import numpy as np
import pandas as pd
from torch import nn

from vintk_kit.errors import bad_value
from vintk_kit.spaces.architecture import Architecture
from vintk_kit.spaces.table import ChoiceTable
from vintk_kit.spaces.weights import Supernet, bind_views, count_macs, draw_weights, named

__all__ = ["Architecture", "SearchSpace", "Supernet"]


class SearchSpace(ChoiceTable, ABC):
    """A table of choices and how to build its networks. Subclasses give the table, `skeleton` and `largest`.

    Attributes:
        name: Registry name, or the spec when options differ from the defaults.
        reference: Where the table comes from.
        image_size: Default side of the square input.
        num_classes: Default number of logits C.
    """

    reference: str = ""
    image_size: int = 224
    num_classes: int = 1000

    def published(self) -> dict[str, Architecture]:
        """Architectures reported in the literature, by name; some lie outside the table."""
        return {}

    # ---- networks -----------------------------------------------------------------------------------------------

    @abstractmethod
    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        """The network on the meta device, without values, in evaluation mode."""

    @abstractmethod
    def largest(self) -> list[Architecture]:
        """Architectures whose parameters, taken together at their largest shapes, cover the whole space."""

    def weight_name(self, arch: Architecture, name: str) -> str:
        """Name under which the supernet keeps a parameter of this architecture."""
        return name

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        """How a parameter starts: ("normal", deviation), ("uniform", bound) or ("constant", value)."""
        if len(shape) == 1:
            return ("constant", 1.0 if name.endswith("weight") else 0.0)
        return ("normal", 0.02)

    def check_input(self, arch: Architecture, image_size: int) -> None:
        """Raises `InputError` if the network cannot take images of this size; subclasses override."""
        return

    def resolve(
        self, arch: Architecture, in_channels: int, num_classes: int | None, image_size: int | None
    ) -> tuple[Architecture, int, int, int]:
        """The validated architecture, input channels, number of classes and image size, defaults filled in."""
        num_classes = self.num_classes if num_classes is None else num_classes
        image_size = self.image_size if image_size is None else image_size
        for what, value in (("in_channels", in_channels), ("num_classes", num_classes), ("image_size", image_size)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise bad_value(what, value, "a whole number of at least 1")
        arch = self.validate(arch)
        self.check_input(arch, image_size)
        return arch, int(in_channels), int(num_classes), int(image_size)

    def build(
        self,
        arch: Architecture,
        *,
        in_channels: int = 3,
        num_classes: int | None = None,
        image_size: int | None = None,
        weights: Supernet | None = None,
        seed: int = 0,
    ) -> nn.Module:
        """Builds the network of an architecture: float32 on the CPU, evaluation mode, explicit attention.

        Args:
            arch: The architecture.
            in_channels: Channels c of the input (N, c, H, W).
            num_classes: Number of logits C; the space's default if None.
            image_size: Side of the input; the space's default if None.
            weights: Shared initial weights. The parameters are then views of its tensors: nothing is copied or
                drawn, and writing to them writes to the supernet.
            seed: Seed of independent weights, used when `weights` is None together with the key.

        Returns:
            A module from (N, in_channels, H, W) to logits (N, C).

        Raises:
            InputError: If the choices, sizes or the supernet do not fit.
        """
        arch, *sizes = self.resolve(arch, in_channels, num_classes, image_size)
        network = self.skeleton(arch, *sizes)
        if weights is None:
            return draw_weights(network, self.initial, [seed, int(arch.key.rpartition("-")[2], 16)])
        weights.check(self.name, *sizes)
        return bind_views(network, weights, lambda name: self.weight_name(arch, name))

    def supernet(
        self, seed: int = 0, *, in_channels: int = 3, num_classes: int | None = None, image_size: int | None = None
    ) -> Supernet:
        """Draws the initial weights which all architectures of the space share by slicing.

        Common random numbers: two architectures then differ by their structure and not by their draw.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        sizes: tuple[int, int, int] | None = None
        for arch in self.largest():
            arch, *found = self.resolve(arch, in_channels, num_classes, image_size)
            sizes = tuple(found)
            for name, parameter in named(self.skeleton(arch, *sizes)):
                known, shape = shapes.get(self.weight_name(arch, name)), tuple(parameter.shape)
                shapes[self.weight_name(arch, name)] = (
                    shape if known is None else tuple(max(pair) for pair in zip(known, shape, strict=True))
                )
        return Supernet.draw(self.name, seed, sizes, shapes, self.initial)

    def params(
        self,
        arch: Architecture,
        *,
        in_channels: int = 3,
        num_classes: int | None = None,
        image_size: int | None = None,
    ) -> int:
        """Number of parameters of the built network."""
        arch, *sizes = self.resolve(arch, in_channels, num_classes, image_size)
        network = self.skeleton(arch, *sizes)
        return sum(parameter.numel() for _, parameter in named(network))

    def macs(
        self,
        arch: Architecture,
        *,
        in_channels: int = 3,
        num_classes: int | None = None,
        image_size: int | None = None,
    ) -> int:
        """Multiply-accumulate operations of one forward pass of one image (convolutions and matrix products)."""
        arch, *sizes = self.resolve(arch, in_channels, num_classes, image_size)
        return count_macs(self.skeleton(arch, *sizes), sizes[0], sizes[2])

    # ---- showing ------------------------------------------------------------------------------------------------

    def describe(self) -> pd.DataFrame:
        """A table of the choices: field, options, how often it is chosen."""
        rows = []
        for name, options in self.choices.items():
            times = "per layer" if name in self.per_layer else f"{self.lengths.get(name, 1)}"
            rows.append({"field": name, "options": ", ".join(map(str, options)), "chosen": times})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.size():.3g} architectures)"

    def _repr_html_(self) -> str:
        head = f"<b>{html.escape(self.name)}</b>: {self.size():,} architectures, {self.image_size} px"
        return f"{head}<br><small>{html.escape(self.reference)}</small>{self.describe().to_html(index=False)}"
