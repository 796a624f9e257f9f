"""Any list of timm models as a set of architectures to score."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from vintk_kit.errors import InputError, bad_value
from vintk_kit.spaces.base import Architecture, SearchSpace
from vintk_kit.spaces.weights import Supernet


class TimmModels(SearchSpace):
    """A pseudo-space whose architectures are timm model names; weights are timm's own random initialisation.

    Args:
        names: Model names; a name may carry timm's arguments, as `vit_tiny_patch16_224`.
        image_size: Default side of the input.
        num_classes: Default number of logits.
        options: Further keyword arguments of `timm.create_model`, the same for all.
    """

    reference = "Wightman, PyTorch Image Models (timm)"

    def __init__(
        self, names: tuple[str, ...] | str = (), image_size: int = 224, num_classes: int = 1000, **options: Any
    ) -> None:
        names = (names,) if isinstance(names, str) else tuple(names)
        if not names:
            raise bad_value("timm names", names, "at least one name, as in timm(names=('deit_tiny_patch16_224',))")
        unknown = [name for name in names if not timm.is_model(name)]
        if unknown:
            close = timm.list_models(f"*{unknown[0].split('_')[0]}*")[:5] or ["vit_tiny_patch16_224"]
            raise bad_value("timm names", unknown[0], f"timm models, such as {', '.join(close)}")
        self.name, self.choices, self.options = "timm", {"model": names}, options
        self.image_size, self.num_classes = image_size, num_classes

    def _checked(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        network = self._create(arch, in_channels, num_classes, image_size).eval()
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
        if isinstance(patch, tuple) and image_size % patch[0]:
            raise bad_value("image_size", image_size, f"multiples of the patch size {patch[0]}")
        return network

    def _create(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        options = {"in_chans": in_channels, "num_classes": num_classes, **self.options}
        try:
            return timm.create_model(arch["model"], img_size=image_size, **options)
        except TypeError as error:
            if "img_size" not in str(error):
                raise InputError(f"timm options: got {self.options}; {error}") from error
            return timm.create_model(arch["model"], **options)  # convolutional: any size fits
        except AssertionError as error:
            raise bad_value("image_size", image_size, f"sizes that {arch['model']} accepts ({error})") from error

    def skeleton(self, arch: Architecture, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        """The network on the meta device."""
        with torch.device("meta"):
            return self._checked(arch, in_channels, num_classes, image_size)

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
        """Builds the model with timm's random initialisation from `seed`; attention is not fused.

        Raises:
            InputError: If `weights` is given: these models share none.
        """
        if weights is not None:
            raise InputError("timm: got shared weights; allowed: init='independent', as the models have no supernet")
        arch, *sizes = self.resolve(arch, in_channels, num_classes, image_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((seed << 32) ^ int(arch.key.rpartition("-")[2][:8], 16))
            network = self._checked(arch, *sizes)
        for module in network.modules():
            if isinstance(getattr(module, "fused_attn", None), bool):
                module.fused_attn = False
        return network

    def largest(self) -> list[Architecture]:
        """None: the models share no weights."""
        raise InputError("timm: models share no weights; allowed: init='independent'")
