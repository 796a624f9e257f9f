"""Search spaces: tables of choices, uniform sampling, variation, and networks that share initial weights.

Example:
    >>> space = get_space("microvit-32")
    >>> architecture = space.sample(np.random.default_rng(0))
    >>> network = space.build(architecture, weights=space.supernet(seed=0))
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from vintk_kit.errors import InputError, one_of
from vintk_kit.spaces.autoformer import autoformer, autoformer_scratch
from vintk_kit.spaces.base import Architecture, SearchSpace
from vintk_kit.spaces.microvit import deit, microvit
from vintk_kit.spaces.nasbench201 import NASBench201
from vintk_kit.spaces.pit import PiTSpace
from vintk_kit.spaces.timm_space import TimmModels
from vintk_kit.spaces.vit import ViT, ViTConfig
from vintk_kit.spaces.vit_space import ViTSpace
from vintk_kit.spaces.weights import Supernet
from vintk_kit.spaces.window_spaces import AsViT, SwinS3
from vintk_kit.specs import parse_spec

__all__ = ["SPACES", "Architecture", "SearchSpace", "Supernet", "ViT", "ViTConfig", "ViTSpace", "get_space"]


def _hybrid_hr(**options: object) -> SearchSpace:
    # The dense space lives with segmentation, which depends on this package.
    return importlib.import_module("vintk_kit.segmentation.space").HybridHR(**options)


SPACES: dict[str, Callable[..., SearchSpace]] = {
    "microvit-32": microvit,
    "autoformer-tiny": partial(autoformer, "tiny"),
    "autoformer-small": partial(autoformer, "small"),
    "autoformer-base": partial(autoformer, "base"),
    "autoformer-tiny-scratch": autoformer_scratch,
    "deit-tiny": partial(deit, "tiny"),
    "deit-small": partial(deit, "small"),
    "deit-base": partial(deit, "base"),
    "pit-ti": partial(PiTSpace, "ti"),
    "pit-xs": partial(PiTSpace, "xs"),
    "pit-s": partial(PiTSpace, "s"),
    "nasbench201": NASBench201,
    "as-vit": AsViT,
    "swin-s3": SwinS3,
    "timm": TimmModels,
    "hybrid-hr": _hybrid_hr,
}
"""Every search space by name; a value builds it, with the options of a spec as keyword arguments."""


def get_space(spec: str | SearchSpace) -> SearchSpace:
    """Returns a search space by name or spec, such as `microvit-32` or `pit-ti(grid='full')`.

    Raises:
        InputError: For an unknown name or option.
    """
    if isinstance(spec, SearchSpace):
        return spec
    parsed = parse_spec(spec)
    factory = SPACES[one_of("search space", parsed.name, SPACES)]
    try:
        space = factory(**parsed.kwargs)
    except TypeError as error:
        raise InputError(f"search space {parsed.name}: got options {parsed.kwargs}; {error}") from error
    if parsed.options:
        space.name = str(parsed)  # so that a stored architecture says how to rebuild its space
    return space
