"""One rule per layer class: from what went in and the gradient of what came out to per-sample gradients.

`RULES` is the registry; to support a layer of your own, add a function to it:

    RULES[MyLayer] = lambda call, grad: {"weight": Rows(...)}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from timm import layers as timm_layers
from torch import Tensor, nn

from vintk_kit.ntk.call import Call, Rule
from vintk_kit.ntk.replay import is_timm, replayed
from vintk_kit.ntk.terms import Outer, Rows, Term, Windows

EXPLICIT = 1 << 23
"""Entries of per-sample gradients that a convolution may hold at once."""


def _tokens(call: Call, value: Tensor) -> Tensor:
    """(N k, ..., D) to (N, T, D)."""
    if value.ndim == 3 and len(value) == call.samples:
        return value
    return call.by_sample(value).flatten(1, -2)


def _maps(call: Call, value: Tensor) -> Tensor:
    """(N k, C, ...) to (N, C, T)."""
    if len(value) == call.samples:
        return value.flatten(2) if value.ndim > 2 else value.unsqueeze(2)
    return call.by_sample(value).movedim(2, 1).flatten(2)


def linear(call: Call, grad: Tensor) -> dict[str, Term]:
    """y = x Wᵀ + b."""
    grad = _tokens(call, grad)
    terms: dict[str, Term] = {}
    if "weight" in call.wanted:
        terms["weight"] = Outer(grad.transpose(1, 2), _tokens(call, call.args[0]))
    if "bias" in call.wanted:
        terms["bias"] = Rows(grad.sum(1))
    return terms


def _affine(call: Call, product: Callable[[], Tensor], grad: Callable[[], Tensor]) -> dict[str, Term]:
    terms: dict[str, Term] = {}
    if "weight" in call.wanted:
        terms["weight"] = Rows(product())
    if "bias" in call.wanted:
        terms["bias"] = Rows(grad())
    return terms


def layer_norm(call: Call, grad: Tensor) -> dict[str, Term]:
    """y = x̂ * w + b over the last dimensions."""
    module, x = call.module, call.args[0]
    size = module.normalized_shape
    flat = lambda v: call.by_sample(v).flatten(1, -1 - len(size)).flatten(2)  # noqa: E731
    if x.ndim == len(size) + 1:
        flat = lambda v: call.by_sample(v).flatten(2)  # noqa: E731
    normal = lambda: F.layer_norm(x, size, *_plain(size, x.dtype, x.device), module.eps)  # noqa: E731
    return _affine(call, lambda: flat(normal().mul_(grad)).sum(1), lambda: flat(grad).sum(1))


@lru_cache(maxsize=32)
def _plain(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ones and zeros: torch's layer norm takes less than half the time with weights."""
    return torch.ones(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device)


def layer_norm_2d(call: Call, grad: Tensor) -> dict[str, Term]:
    """Layer norm over the channels of (N, C, H, W)."""
    module, x = call.module, call.args[0].movedim(1, -1)
    normal = lambda: F.layer_norm(x, module.normalized_shape, eps=module.eps).movedim(-1, 1)  # noqa: E731
    return _affine(call, lambda: _maps(call, normal() * grad).sum(2), lambda: _maps(call, grad).sum(2))


def _normalised(module: nn.Module, x: Tensor) -> Tensor:
    """x̂ of a group or batch norm."""
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, eps=module.eps)
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x.movedim(1, -1), module.normalized_shape, eps=module.eps).movedim(-1, 1)
    return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps)


def channel_norm(call: Call, grad: Tensor) -> dict[str, Term]:
    """Group norm, and batch norm with running statistics: an affine map per channel."""
    normal = lambda: _normalised(call.module, call.args[0])  # noqa: E731
    return _affine(call, lambda: _maps(call, normal().mul_(grad)).sum(2), lambda: _maps(call, grad).sum(2))


def norm_act(call: Call, grad: Tensor) -> dict[str, Term]:
    """A timm norm with its activation inside: the gradient goes back through the activation first."""
    module = call.module
    normal = _normalised(module, call.args[0])
    shape = (1, -1) + (1,) * (normal.ndim - 2)
    with torch.enable_grad():
        before = normal * module.weight.detach().view(shape) + module.bias.detach().view(shape)
        before = before.detach().requires_grad_()
        after = module.act(module.drop(before * 1))  # times 1: the activation may work in place
        (grad,) = torch.autograd.grad(after, before, grad)
    return _affine(call, lambda: _maps(call, normal * grad).sum(2), lambda: _maps(call, grad).sum(2))


def _patches(module: nn.Conv2d, x: Tensor) -> Tensor:
    """The patches that a convolution sees, (N, channels * kh * kw, positions)."""
    size, stride = module.kernel_size, module.stride
    if size == (1, 1) and module.padding in ((0, 0), "valid", "same"):
        return x[:, :, :: stride[0], :: stride[1]].flatten(2)
    if size == stride and module.padding in ((0, 0), "valid") and module.dilation == (1, 1):
        n, c, height, width = x.shape
        rows, columns = height // size[0], width // size[1]
        x = x[:, :, : rows * size[0], : columns * size[1]]
        x = x.reshape(n, c, rows, size[0], columns, size[1])
        return x.permute(0, 1, 3, 5, 2, 4).reshape(n, c * size[0] * size[1], rows * columns)
    return F.unfold(_padded(module, x), size, module.dilation, 0, stride)


def _padded(module: nn.Conv2d, x: Tensor) -> Tensor:
    if module.padding_mode != "zeros":
        return F.pad(x, module._reversed_padding_repeated_twice, mode=module.padding_mode)
    if module.padding == "valid":
        return x
    if module.padding == "same":
        return F.pad(x, module._reversed_padding_repeated_twice)
    return F.pad(x, (module.padding[1], module.padding[1], module.padding[0], module.padding[0]))


def conv2d(call: Call, grad: Tensor) -> dict[str, Term]:
    """Convolution with any stride, dilation, padding and groups."""
    module, x = call.module, call.args[0]
    terms: dict[str, Term] = {}
    if "weight" in call.wanted:
        terms["weight"] = _conv_weight(call, module, x, grad)
    if "bias" in call.wanted:
        terms["bias"] = Rows(_maps(call, grad).sum(2))
    return terms


def _conv_weight(call: Call, module: nn.Conv2d, x: Tensor, grad: Tensor) -> Term:
    whole = len(x) == call.samples
    plain = module.kernel_size in ((1, 1), module.stride)
    small = len(x) * module.weight.numel() <= EXPLICIT
    if whole and not plain and module.groups == 1 and module.stride == module.dilation == (1, 1):
        return _windows(module, x, grad)
    if whole and (module.groups > 1 or (small and not plain)):
        return Rows(_grouped_weight(module, x, grad))
    if module.groups > 1:
        return replayed(replace(call, wanted=frozenset({"weight"})), grad)["weight"]
    return Outer(_maps(call, grad), _maps(call, _patches(module, x)).transpose(1, 2))


def _grouped_weight(module: nn.Conv2d, x: Tensor, grad: Tensor) -> Tensor:
    """Per-sample gradients as the weight gradient of one convolution in which every sample is a group, (N, P)."""
    n, groups = len(x), module.groups
    padding = module.padding if module.padding_mode == "zeros" and isinstance(module.padding, tuple) else None
    # Where the operator itself can pad, it is up to three times faster than on a padded copy.
    padded = x if padding else _padded(module, x)
    shape = (n * module.out_channels, module.in_channels // groups, *module.kernel_size)
    weight = torch.empty(1, device=x.device, dtype=x.dtype).expand(shape)
    _, result, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, -1, *grad.shape[2:]), padded.reshape(1, -1, *padded.shape[2:]), weight, None,
        list(module.stride), list(padding or (0, 0)), list(module.dilation), False, [0, 0], n * groups,
        [False, True, False],
    )  # fmt: skip
    return result.reshape(n, -1)


def _windows(module: nn.Conv2d, x: Tensor, grad: Tensor) -> Windows:
    """Products of output gradients with rows of the window, which are slices of one tensor kw times as large as x."""
    padded = _padded(module, x).movedim(1, -1).contiguous()
    n, height, width, channels = padded.shape
    high, wide = module.kernel_size
    columns = width - wide + 1
    shape, (first, down, right, _) = (n, height, columns, wide * channels), padded.stride()
    rows = padded.as_strided(shape, (first, down, right, 1)).reshape(n, height * columns, -1)
    left = grad.flatten(2)
    starts = range(0, high * columns, columns)
    return Windows([Outer(left, rows[:, start : start + left.shape[2]]) for start in starts], channels)


def embedding(call: Call, grad: Tensor) -> dict[str, Term]:
    """A table looked up by integers."""
    index = call.by_sample(call.args[0]).flatten(1)
    grad = call.by_sample(grad).flatten(1, -2)
    table = grad.new_zeros(call.samples, *call.module.weight.shape)
    table.scatter_add_(1, index[..., None].expand_as(grad), grad)
    if call.module.padding_idx is not None:
        table[:, call.module.padding_idx] = 0
    return {"weight": Rows(table.flatten(1))}


def layer_scale(call: Call, grad: Tensor) -> dict[str, Term]:
    """y = x * gamma over the last dimension."""
    return {"gamma": Rows(_tokens(call, call.args[0] * grad).sum(1))}


def layer_scale_2d(call: Call, grad: Tensor) -> dict[str, Term]:
    """y = x * gamma over channels."""
    return {"gamma": Rows(_maps(call, call.args[0] * grad).sum(2))}


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv2d: conv2d,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: channel_norm,
    nn.BatchNorm1d: channel_norm,
    nn.BatchNorm2d: channel_norm,
    nn.Embedding: embedding,
    nn.Conv1d: replayed,
    nn.Conv3d: replayed,
    nn.ConvTranspose2d: replayed,
    nn.InstanceNorm2d: replayed,
    nn.RMSNorm: replayed,
    nn.PReLU: replayed,
    timm_layers.Linear: linear,
    timm_layers.LayerNorm: layer_norm,
    timm_layers.LayerNorm2d: layer_norm_2d,
    timm_layers.GroupNorm: channel_norm,
    timm_layers.GroupNorm1: channel_norm,
    timm_layers.BatchNormAct2d: norm_act,
    timm_layers.GroupNormAct: norm_act,
    timm_layers.LayerNormAct2d: norm_act,
}
"""Layer class to rule."""

BY_NAME: dict[str, Rule] = {
    "timm.models.vision_transformer.LayerScale": layer_scale,
    "timm.layers.layer_scale.LayerScale": layer_scale,
    "timm.layers.layer_scale.LayerScale2d": layer_scale_2d,
}
"""The same for classes named by module and class, so that they need not be imported."""


def rule_for(module: nn.Module) -> Rule | None:
    """Returns the rule of a module: by its class, or by the nearest parent whose forward it did not change.

    timm's modules without a rule are run once more, sample by sample.
    """
    cls = type(module)
    if cls in RULES:
        return RULES[cls]
    named = BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")
    if named:
        return named
    for parent in cls.__mro__[1:]:
        if parent in RULES and cls.forward is parent.forward:
            return RULES[parent]
    return replayed if is_timm(module) else None
