"""Which part of a network a parameter belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from torch import nn

from vintk_kit.errors import one_of

GROUPS = ("patch_embed", "attention", "mlp", "norm", "position", "head", "conv", "other")

POSITION = ("cls_token", "dist_token", "reg_token", "pos_embed", "position_embed", "rel_pos", "relative_position")
_BLOCK = re.compile(
    r"(?:^|\.)(?:\w*blocks?|layers?|layer\d+|stages?|body|cells|transformer\w*|features)\.(\d+)(?=\.|$)"
)


def layer_group(path: str, module: nn.Module) -> tuple[str, int | None]:
    """Returns the layer group and the block index of a module or parameter.

    Args:
        path: Dotted path of the module, or of a parameter that its module uses directly, such as `pos_embed`.
        module: The module at the path, or the owner of the parameter.

    Returns:
        One of `GROUPS`, and the index of the innermost block on the path; None outside blocks.
    """
    match = block_match(path)
    return _group(path, type(module).__name__), int(match.group(1)) if match else None


def parameter_group(name: str, modules: Mapping[str, nn.Module]) -> tuple[str, int | None]:
    """Returns layer group and block index of a parameter, given all modules of its network by path."""
    path = name.rpartition(".")[0]
    module = modules[path]
    # Tables for positions are told by their own name, everything else by its module's.
    own = layer_group(name, module)
    return own if own[0] == "position" else layer_group(path, module)


def weights_in(network: nn.Module, groups: str) -> Callable[[str, nn.Parameter], bool]:
    """Returns a chooser, for `params=`, of the weights of some layer groups: what only they need costs less.

    Args:
        network: The network that the kernel is computed of.
        groups: Names out of `GROUPS`, joined by "+".

    Raises:
        InputError: An unknown group.
    """
    wanted = {one_of("layer group", group, GROUPS) for group in groups.split("+")}
    modules = dict(network.named_modules())
    return lambda name, _: "weight" in name and parameter_group(name, modules)[0] in wanted


@lru_cache(maxsize=1 << 16)
def block_match(path: str) -> re.Match[str] | None:
    """Returns the match of the innermost `blocks.<i>` (or stage, layer, cell ...) in a path."""
    found = list(_BLOCK.finditer(path))
    return found[-1] if found else None


@lru_cache(maxsize=1 << 16)
def _group(path: str, kind: str) -> str:
    parts = path.split(".")
    has = lambda *words: any(word in part for part in parts for word in words)  # noqa: E731
    if has(*POSITION):
        return "position"
    if "Norm" in kind and "Conv" not in kind:
        return "norm"
    if has("patch_embed", "stem"):
        return "patch_embed"
    if has("attn", "attention"):
        return "attention"
    if has("mlp", "ffn", "fc1", "fc2"):
        return "mlp"
    if parts[0] in ("head", "fc", "classifier", "head_dist", "heads"):
        return "head"
    return "conv" if "Conv" in kind else "other"
