"""Dense prediction: the space `hybrid-hr`, decoders, data sets with masks, training and evaluation.

Example:
    >>> space = get_space("hybrid-hr")
    >>> result = train_dense(space, space.sample(np.random.default_rng(0)), data="bluemarble", run="tiles")
    >>> evaluate_dense("tiles", scales=(0.75, 1.0, 1.25), flip=True).table
"""

from __future__ import annotations

import importlib

_HOMES = {
    "HybridHR": "space",
    "DENSE_DATASETS": "data",
    "DensePairs": "pairs",
    "dense_probe": "data",
    "dense_table": "data",
    "load_pairs": "data",
    "DECODERS": "models",
    "Segmenter": "models",
    "build_segmenter": "models",
    "DENSE_PRESETS": "recipe",
    "DenseRecipe": "recipe",
    "make_dense_recipe": "recipe",
    "DenseScores": "scores",
    "Inference": "scores",
    "evaluate_dense": "trainer",
    "load_dense": "trainer",
    "train_dense": "trainer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
