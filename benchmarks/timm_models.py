"""Which of timm's models the kernel works on: `python benchmarks/timm_models.py`.

For the smallest model of every family (module of timm.models) up to 60 million parameters: the kernel of all
parameters in float64 against the loop of autograd calls, two images of 64 pixels or the smallest size the model takes.
Writes timm_models.csv beside itself; takes about three minutes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import timm
import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError
from vintk_kit.ntk import loop_kernel, tangent_kernel

SMALL = ("test_", "atto", "femto", "pico", "nano", "xxs", "xx_small", "tiny", "_ti", "mini", "xs", "_t", "small", "_s")
SIZES = (64, 128, 224, 256)
MOST = 60e6


def families() -> dict[str, str]:
    """Returns the model whose name says most clearly that it is small, of each family."""
    chosen: dict[str, str] = {}
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        place = {name: next((i for i, word in enumerate(SMALL) if word in name), len(SMALL)) for name in names}
        if names:
            chosen[module] = min(names, key=lambda name: (place[name], len(name), name))
    return chosen


def built(name: str) -> tuple[nn.Module, Tensor] | None:
    """Returns network and images at the smallest size it takes; None if it is too large or takes none."""
    for size in SIZES:
        for options in ({"img_size": size}, {}):
            torch.manual_seed(0)
            try:
                network = timm.create_model(name, num_classes=4, **options).eval()
                images = torch.randn(2, 3, size, size)
                if sum(p.numel() for p in network.parameters()) > MOST:
                    return None
                with torch.no_grad():
                    network(images)
            except (TypeError, RuntimeError, AssertionError, ValueError):
                continue
            return network.double(), images.double()
    return None


def judged(network: nn.Module, images: Tensor) -> dict[str, object]:
    """Returns the relative error, or why the kernel is refused."""
    try:
        found = tangent_kernel(network, images, params="all").matrix
    except UnsupportedModuleError as error:
        return {"refused": re.split(r"\. Add a rule", str(error))[0]}
    slow = loop_kernel(network, images, params="all")
    return {"error": float((found - slow).abs().max() / slow.abs().max())}


def main() -> None:
    """Measures, prints and writes."""
    rows = []
    for family, name in families().items():
        made = built(name)
        found = {"refused": "not built: too large, or takes no such image"} if made is None else judged(*made)
        rows.append({"family": family, "model": name, **found})
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=["family", "model", "error", "refused"])
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.1e")
    print(f"{(table['error'] < 1e-7).sum()} of {table['error'].notna().sum()} agree to 1e-7, {len(table)} families")


if __name__ == "__main__":
    main()
