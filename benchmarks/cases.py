"""What is measured: networks, sizes, and the targets set for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from vintk_kit.spaces import get_space


@dataclass(frozen=True)
class Case:
    """One network at one image size.

    Attributes:
        name: Name in the table.
        space: Search space; its first random architecture is measured.
        image_size: Pixels.
        samples: N.
        target: Highest allowed cost of the exact kernel, in forward-backwards.
        sketch_target: The same for the sketch with r = 64.
        slow: Whether the per-sample loop is measured too.
        vmap: Whether `torch.func` is measured too.
        patch_size: Patch size; None leaves the space's own.
    """

    name: str
    space: str
    image_size: int
    samples: int = 32
    target: float | None = None
    sketch_target: float = 1.0
    slow: bool = False
    vmap: bool = True
    patch_size: int | None = None

    def build(self) -> tuple[nn.Module, Tensor]:
        """Returns the network in eval mode, and seeded images."""
        torch.manual_seed(0)
        return self.builder()(), torch.randn(self.samples, 3, self.image_size, self.image_size)

    def builder(self) -> Callable[[], nn.Module]:
        """Returns a function that builds the network from a shared supernet, as a search does for every candidate."""
        space = get_space(self.space)
        if self.patch_size:
            space.patch_size = self.patch_size
        architecture = space.sample(np.random.default_rng(0))
        options = {"image_size": self.image_size, "num_classes": 10}
        supernet = space.supernet(0, **options)
        return lambda: space.build(architecture, weights=supernet, seed=0, **options)


QUICK = (
    Case("autoformer-tiny", "autoformer-tiny", 32, target=1.22, slow=True, patch_size=4),
    Case("autoformer-small", "autoformer-small", 32, target=1.22, sketch_target=0.85, patch_size=4, vmap=False),
    Case("autoformer-base", "autoformer-base", 32, target=1.22, sketch_target=0.85, patch_size=4, vmap=False),
    Case("autoformer-tiny, 17 tokens", "autoformer-tiny", 32, target=1.6, patch_size=8),
    Case("nasbench201", "nasbench201", 32, target=1.5),
    Case("pit", "pit-ti", 112),
    Case("autoformer-tiny", "autoformer-tiny", 224, target=1.12, vmap=False),
)
FULL = (
    *(replace(case, slow=case.image_size == 32 and case.space != "autoformer-base", vmap=True) for case in QUICK),
    Case("autoformer-small", "autoformer-small", 224, target=1.12, sketch_target=0.85),
    Case("autoformer-tiny", "autoformer-tiny", 32, samples=16, patch_size=4, slow=True),
    Case("autoformer-tiny", "autoformer-tiny", 32, samples=64, patch_size=4),
    Case("autoformer-small, 17 tokens", "autoformer-small", 32, target=1.6, patch_size=8),
)
