"""Sizes: what every score has to beat."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vintk_kit.ntk.groups import block_match
from vintk_kit.proxies.base import Proxy
from vintk_kit.proxies.candidate import Candidate, transformer_blocks


def params(candidate: Candidate) -> float:
    """Number of parameters of the network as built."""
    return float(sum(parameter.numel() for parameter in candidate.network.parameters()))


def macs(candidate: Candidate) -> float:
    """Multiply-adds of one image: the space's own count, or the matrix products and convolutions of one forward."""
    return candidate.cached(("macs",), lambda: _macs(candidate))


def _macs(candidate: Candidate) -> float:
    if candidate.space is not None and candidate.architecture is not None:
        sizes: dict[str, Any] = {"in_channels": candidate.images.shape[1], "image_size": candidate.images.shape[-1]}
        linear = [module for module in candidate.network.modules() if isinstance(module, nn.Linear)]
        if linear and not hasattr(candidate.space, "dense"):
            sizes["num_classes"] = linear[-1].out_features
        return float(candidate.space.macs(candidate.architecture, **sizes))
    network = candidate.copy()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(candidate.images[:1])
    return counter.get_total_flops() / 2


def depth(candidate: Candidate) -> float:
    """Number of transformer blocks; of blocks or cells for other networks; of weight layers if there are none."""
    blocks = transformer_blocks(candidate.network)
    if blocks:
        return float(len(blocks))
    paths = [path for path, _ in candidate.network.named_modules()]
    found = {path[: match.end()] for path in paths if (match := block_match(path))}
    if found:
        return float(len({path for path in found if not any(other.startswith(path + ".") for other in found)}))
    return float(sum(isinstance(m, nn.Conv2d | nn.Linear) for m in candidate.network.modules()))


def latency(candidate: Candidate, repeats: int = 5) -> float:
    """Median time of a forward of the batch, milliseconds per image, on the machine at hand; lower is better.

    Cost: repeats + 1 forwards. Two processes on one machine disturb each other: compare runs with equal workers only.
    """
    network, images = candidate.copy(), candidate.images
    times = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            _wait(images)
            begin = time.perf_counter()
            network(images)
            _wait(images)
            times.append(time.perf_counter() - begin)
    candidate.spend((repeats + 1) / 3)
    return 1000 * statistics.median(times[1:]) / len(images)


def _wait(images: torch.Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


NOTHING: frozenset[str] = frozenset()
PROXIES = (
    Proxy("params", "size", params, 1, NOTHING, 0.0, "count"),
    Proxy("macs", "size", macs, 1, NOTHING, 0.0, "count of the space, else of torch"),
    Proxy("depth", "size", depth, 1, NOTHING, 0.0, "count"),
    Proxy("latency", "size", latency, -1, NOTHING, 2.0, "measured, ms per image", {"repeats": 5}),
)
