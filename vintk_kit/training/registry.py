"""timm's registry: `timm.create_model("vintk_microvit_32", arch=...)` after `import vintk_kit.training`."""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import nn

from vintk_kit.errors import InputError
from vintk_kit.spaces import SPACES, Architecture, get_space

_TWO_STEP = ("timm",)


def _entry(space_name: str) -> Any:
    def entry(
        pretrained: bool = False, arch: str | Architecture | None = None, num_classes: int | None = None,
        in_chans: int = 3, img_size: int | None = None, seed: int = 0, **_ignored: Any,
    ) -> nn.Module:  # fmt: skip
        if pretrained:
            raise InputError("pretrained: got True; allowed: False (load a run with vintk_kit.training.load_trained)")
        if arch is None:
            raise InputError(f"arch: got None; allowed: an Architecture of {space_name}, or its JSON")
        space = get_space(space_name)
        found = arch if isinstance(arch, Architecture) else space.parse(arch)
        network = space.build(found, in_channels=in_chans, num_classes=num_classes, image_size=img_size, seed=seed)
        network.num_classes = space.num_classes if num_classes is None else num_classes
        network.in_chans = in_chans
        size = img_size or space.image_size
        network.pretrained_cfg = {
            "input_size": (in_chans, size, size), "num_classes": network.num_classes, "mean": (0.5,) * 3,
            "std": (0.5,) * 3,
        }  # fmt: skip
        network.default_cfg = network.pretrained_cfg
        return network

    entry.__name__ = timm_name(space_name)
    entry.__module__ = __name__
    entry.__doc__ = f"A network of the space {space_name}; arch is an Architecture or its JSON."
    return entry


def timm_name(space: str) -> str:
    """The name of a space in timm's registry, such as `vintk_autoformer_tiny`."""
    return "vintk_" + space.replace("-", "_")


__all__ = ["timm_name"]
for _name in SPACES:
    if _name not in _TWO_STEP:
        globals()[timm_name(_name)] = register_model(_entry(_name))
