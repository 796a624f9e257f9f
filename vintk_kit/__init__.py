"""Training-free architecture search of Vision Transformers with the tangent kernel and Fourier features.

Importing the package is cheap: torch and the rest load when a name below is first used.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "get_space": "vintk_kit.spaces",
    "SPACES": "vintk_kit.spaces",
    "Architecture": "vintk_kit.spaces",
    "FourierFeatures": "vintk_kit.fourier",
    "tangent_kernel": "vintk_kit.ntk",
    "PROXIES": "vintk_kit.proxies",
    "probe_batch": "vintk_kit.data",
    "score": "vintk_kit.scoring",
    "STRATEGIES": "vintk_kit.search",
    "get_benchmark": "vintk_kit.benchmarks",
    "correlate": "vintk_kit.correlation",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vintk_kit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
