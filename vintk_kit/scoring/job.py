"""What a worker must know once to score any candidate."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vintk_kit.errors import InputError, bad_value, one_of
from vintk_kit.specs import parse_spec

if TYPE_CHECKING:
    from vintk_kit.data import ProbeBatch
    from vintk_kit.spaces import SearchSpace

INITS = ("shared", "independent")


@dataclass(frozen=True)
class Job:
    """Everything that decides a score, but the architecture; small, picklable, hashable by `identity`.

    Attributes:
        space: Spec of the search space, or the space itself.
        proxies: Canonical proxy specs.
        data: Name of a data set, or a probe batch.
        image_size: Side S of the images.
        batch_size: Number of images N.
        seeds: Seeds of the initial weights.
        init: `shared` (all candidates slice one supernet per seed) or `independent`.
        num_classes: Classes C of the head; None takes those of the data.
        root: Folder of the data files.
    """

    space: str | SearchSpace
    proxies: tuple[str, ...]
    data: str | ProbeBatch = "photopatch"
    image_size: int = 32
    batch_size: int = 32
    seeds: tuple[int, ...] = (0,)
    init: str = "shared"
    num_classes: int | None = None
    root: str | None = None

    @cached_property
    def identity(self) -> str:
        """Digest by which a worker finds the context it has built."""
        return hashlib.blake2b(json.dumps(self.parameters(), default=str).encode(), digest_size=8).hexdigest()

    def parameters(self) -> dict[str, Any]:
        """The job as JSON values."""
        named = isinstance(self.data, str)
        return {
            "space": self.space if isinstance(self.space, str) else self.space.name,
            "proxies": list(self.proxies),
            "data": self.data if named else self.data.data_id,
            "image_size": self.image_size,
            "batch_size": self.batch_size,
            "seeds": list(self.seeds),
            "init": self.init,
            "num_classes": self.num_classes,
        }


def make_job(
    space: str | SearchSpace,
    proxies: str | Sequence[str],
    *,
    data: str | ProbeBatch = "photopatch",
    image_size: int | None = None,
    batch_size: int = 32,
    seeds: Sequence[int] | int = (0,),
    init: str = "shared",
    num_classes: int | None = None,
    root: str | Path | None = None,
) -> Job:
    """Checks every value before any work and fills in what follows from the space.

    Raises:
        InputError: If a name, an option, a size or a seed is not allowed.
        DataMissingError: If the data set is absent.
    """
    load_plugins()
    from vintk_kit.proxies import check_proxies
    from vintk_kit.spaces import get_space
    from vintk_kit.specs import split_specs

    built = get_space(space)
    texts = split_specs(proxies) if isinstance(proxies, str) else list(proxies)
    if not texts:
        raise bad_value("proxies", proxies, "at least one proxy; vintk proxies lists them")
    seeds = (seeds,) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise bad_value("seeds", seeds, "distinct integers from 0")
    if isinstance(data, str):
        image_size = image_size or built.image_size
    else:
        image_size, batch_size = data.image_size, len(data)
    return Job(
        space=str(parse_spec(space)) if isinstance(space, str) else space,
        proxies=tuple(dict.fromkeys(str(spec) for spec in check_proxies(texts))),
        data=data,
        image_size=int(image_size),
        batch_size=int(batch_size),
        seeds=seeds,
        init=one_of("init", init, INITS),
        num_classes=num_classes,
        root=None if root is None else str(Path(root).absolute()),
    )


def load_plugins() -> None:
    """Imports the modules named in the variable VINTK_PLUGINS (comma-separated).

    They may add their own spaces and proxies to the registries; worker processes import them too.
    """
    for name in filter(None, os.environ.get("VINTK_PLUGINS", "").split(",")):
        try:
            importlib.import_module(name.strip())
        except ImportError as error:
            raise InputError(f"VINTK_PLUGINS: cannot import {name!r} ({error}); allowed: importable modules") from error
