"""The rule for modules that use parameters in a way of their own: the module is run once more, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vintk_kit.ntk.call import Call
from vintk_kit.ntk.terms import Rows, Term


def is_timm(module: nn.Module) -> bool:
    """Whether a module's class is timm's, whose modules keep samples apart and in the first dimension."""
    return type(module).__module__.startswith("timm.")


def precision(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager:
    """Returns the context for a network's forward: autocast, or none."""
    return torch.autocast(device.type, autocast) if autocast else nullcontext()


def _caches(module: nn.Module) -> list[tuple[str, dict]]:
    return [(name, held) for name, held in vars(module).items() if name.endswith("_cache") and type(held) is dict]


@contextmanager
def empty_caches(network: nn.Module) -> Iterator[None]:
    """Hides what modules in eval mode keep of their parameters, and forgets what they keep meanwhile.

    timm's attention biases are looked up once and kept: a second run would not reach the parameters.
    """
    before = [(module, *cache) for module in network.modules() for cache in _caches(module)]
    for module, name, _ in before:
        setattr(module, name, {})
    try:
        yield
    finally:
        for module, name, held in before:
            setattr(module, name, held)


@contextmanager
def dense_gradients(network: nn.Module) -> Iterator[None]:
    """Gives batch norms dense gradients, for passes of a single sample.

    The backward of torch 2.14 reads the gradient of one sample in the wrong order where it comes through a transpose:
    plain autograd is wrong there in silence.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    handles = [norm.register_forward_hook(_dense_gradient) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _dense_gradient(module: nn.Module, args: tuple, output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(Tensor.contiguous)


def replayed(call: Call, grad: Tensor) -> dict[str, Term]:
    """Exact for any module that maps (N k, ...) to (N k, ...) and couples no samples.

    Only the wanted parameters are differentiated, so the way back is short. Cost: N runs of the module.

    Raises:
        UnsupportedModuleError: Alone, a sample gives another output than it gave in the batch.
    """
    names = sorted(call.wanted)
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    outputs = []
    with torch.enable_grad(), precision(call.args[0].device, call.autocast):
        leaves = {name: call.module.get_parameter(name).detach().requires_grad_() for name in names}
        for index, g in enumerate(call.by_sample(grad)):
            args, kwargs = _sample(call, call.args, index), _sample(call, call.kwargs, index)
            with empty_caches(call.module), dense_gradients(call.module):
                y = torch.func.functional_call(call.module, leaves, args, kwargs)
            if not y.requires_grad:
                raise call.unsupported(f"run once more, it makes no use of {', '.join(names)}")
            outputs.append(y.detach())
            found = torch.autograd.grad(y, list(leaves.values()), g.to(y.dtype), allow_unused=True)
            for name, leaf, value in zip(names, leaves.values(), found, strict=True):
                rows[name].append(torch.zeros_like(leaf).flatten() if value is None else value.flatten())
    if call.output is not None and not _alike(torch.cat(outputs), call.output):
        raise call.unsupported("a sample alone gives another output than in the batch")
    return {name: Rows(torch.stack(values)) for name, values in rows.items()}


def _alike(found: Tensor, want: Tensor) -> bool:
    """Whether they differ by rounding only, which is more than that of one operation."""
    allowed = torch.finfo(want.dtype).eps ** 0.5 * float(want.abs().amax())
    return found.shape == want.shape and float((found - want).abs().amax()) <= allowed


def _sample(call: Call, given: Any, index: int) -> Any:
    """One sample of every tensor that has as many rows as the first; copied, for modules that work in place."""
    if isinstance(given, dict):
        return {key: _sample(call, value, index) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return type(given)([_sample(call, value, index) for value in given])
    first = call.args[0]
    if isinstance(given, Tensor) and given.ndim and (given is first or len(given) == len(first)):
        return call.by_sample(given.detach())[index].clone()
    return given
