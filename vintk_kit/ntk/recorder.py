"""Hooks on a network that turn one backward pass into per-sample gradients of every parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from vintk_kit.ntk import onednn
from vintk_kit.ntk.call import Call, unsupported
from vintk_kit.ntk.outputs import run
from vintk_kit.ntk.owners import Detours, Owner, owners
from vintk_kit.ntk.replay import dense_gradients, empty_caches, is_timm, precision, replayed
from vintk_kit.ntk.terms import Rows, Term

Sink = Callable[[str, Term], None]
"""Receives the name of a parameter and its per-sample gradients."""


@contextmanager
def recording(
    network: nn.Module,
    parameters: dict[str, nn.Parameter],
    images: Tensor,
    sink: Sink,
    select: Callable[[object], Tensor] | None = None,
    autocast: torch.dtype | None = None,
    detours: Detours | None = None,
) -> Iterator[tuple[Recorder, Tensor]]:
    """Runs a network forward and gives the recorder and the output: each backward pass of it now fills the sink.

    Where a layer turns out to be used in a way that its own calls do not show, the forward pass is repeated; also where
    a table is not simply added to every sample, such as one that is scaled to the size of the images. `detours` keeps
    what was found for the next pass.

    Raises:
        UnsupportedModuleError: Such a layer has no timm module around it that could be run sample by sample.
    """
    detours = detours or Detours()
    while True:
        with Recorder(network, parameters, len(images), sink, detours, autocast) as recorder, torch.enable_grad():
            try:
                with precision(images.device, autocast):
                    result = run(network, images, select)
                    unheard = recorder.unheard(images, select)
            except RuntimeError:
                if not recorder.tables_could_be_replayed():
                    raise
                detours.expand = False
                continue
            if not unheard:
                yield recorder, result
                return
            del result
        detours.lifted |= unheard


class Recorder:
    """Computes per-sample gradients of one forward and any number of backward passes.

    Use it as a context: inside, parameters are frozen, hooks are in place and broadcast parameters are expanded; on
    leaving, all is as before.

    Args:
        network: The network.
        parameters: Result of `chosen`.
        samples: N.
        sink: Receives each parameter's gradients, once per backward pass.
        detours: What was found in passes before.
        autocast: Low precision that the network runs in, if any.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: dict[str, nn.Parameter],
        samples: int,
        sink: Sink,
        detours: Detours,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.network, self.parameters, self.samples, self.sink = network, parameters, samples, sink
        self.autocast = autocast
        self.owners = owners(network, parameters, detours)
        self._buffers = {buffer.data_ptr() for buffer in network.buffers()}
        self._firsts = 0  # layers whose input depends on no other layer
        self.aside: dict[str, str] = {}  # paths of layers called with something else than samples: why
        self.keep = False  # set while another backward pass is to follow
        self.regrouped = False  # whether some layer saw a first dimension other than N, or perhaps no samples
        self._uses: dict[str, int] = defaultdict(int)
        self._pending: dict[str, list[Term]] = defaultdict(list)
        self._called: set[int] = set()
        self._replaying = False

    def __enter__(self) -> Recorder:
        self._handles, self._swapped, self._tables = [], [], []
        self._contexts = ExitStack()
        self._contexts.enter_context(onednn.float32_products())
        self._contexts.enter_context(empty_caches(self.network))
        if self.samples == 1:
            self._contexts.enter_context(dense_gradients(self.network))
        self._flags = [(p, p.requires_grad) for p in self.network.parameters()]
        try:
            for parameter, _ in self._flags:
                parameter.requires_grad_(False)
            for owner in self.owners:
                if owner.rule is None:
                    self._expand(owner)
                else:
                    hook = self._forward_hook(owner)
                    self._handles.append(owner.module.register_forward_hook(hook, with_kwargs=True))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._contexts.close()
        for handle in self._handles:
            handle.remove()
        for module, name in self._swapped:
            module.__dict__.pop(name, None)
        for module, before in self._tables:
            module._parameters.clear()  # cleared, so that the parameters keep the order they had
            module._parameters.update(before)
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        self._handles, self._swapped, self._tables = [], [], []
        self._pending.clear()

    def _expand(self, owner: Owner) -> None:
        """Replaces a table of leading size 1 by one copy per sample, whose gradient is per sample."""
        self._tables.append((owner.module, dict(owner.module._parameters)))
        for own, name in owner.names.items():
            parameter = owner.module._parameters[own]
            leaf = parameter.detach().expand(self.samples, *parameter.shape[1:]).requires_grad_()
            del owner.module._parameters[own]
            object.__setattr__(owner.module, own, leaf)
            self._swapped.append((owner.module, own))
            self._uses[name] = 1
            leaf.register_hook(lambda grad, name=name: self._give(name, Rows(grad.flatten(1))))

    def _forward_hook(self, owner: Owner) -> Callable:
        def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> Tensor | None:
            if self._replaying:
                return None
            self._called.add(id(module))
            reason = self._unlike_samples(owner.path, args, output)
            if reason:
                self.aside[owner.path] = reason
                return None
            given = tuple([a.detach() if isinstance(a, Tensor) else a for a in args])
            # A copy, because what follows may work in place.
            result = output.detach().clone() if owner.rule is replayed else None
            call = Call(module, owner.path, self.samples, owner.names.keys(), given, kwargs, result, self.autocast)
            self._firsts += not args[0].requires_grad
            self.regrouped |= output.ndim == 0 or output.shape[0] != self.samples or self._firsts > 1
            for name in owner.names.values():
                self._uses[name] += 1
            leaf = not output.requires_grad
            if leaf:
                # A clone, because what follows may work in place, which a leaf forbids.
                output = output.detach().requires_grad_().clone()
            output.register_hook(self._tensor_hook(owner, call))
            return output if leaf else None

        return hook

    def _unlike_samples(self, path: str, args: tuple, output: object) -> str | None:
        """Why samples cannot be told apart in a call; None where they can."""
        if not args or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            return "it is not called as module(input) -> tensor"
        first, around = args[0], path.rpartition(".")[0]
        if not first.requires_grad and (
            first.data_ptr() in self._buffers or around in {other.rpartition(".")[0] for other in self.aside}
        ):
            return "it is called with a buffer, and not with samples"
        shape = tuple(first.shape)
        if not shape or shape[0] % self.samples:
            return f"its first dimension, {shape}, is no multiple of the {self.samples} samples"
        return None

    def _tensor_hook(self, owner: Owner, call: Call) -> Callable[[Tensor], None]:
        version = call.args[0]._version

        def hook(grad: Tensor) -> None:
            x = call.args[0]
            if x._version != version:
                raise unsupported(owner.path, owner.module, "its input is changed in place after the call")
            self._replaying = True
            try:
                if grad.dtype != x.dtype and x.is_floating_point():
                    grad = grad.to(x.dtype)
                with _single(self._swapped) if owner.rule is replayed else nullcontext():
                    terms = owner.rule(call, grad)
                for own, term in terms.items():
                    self._give(owner.names[own], term)
            finally:
                self._replaying = False
            if not self.keep:
                call.args, call.output = (), None

        return hook

    def tables_could_be_replayed(self) -> bool:
        """Whether tables were expanded, and all in timm's modules, which can be run sample by sample instead."""
        return bool(self._tables) and all(is_timm(module) for module, _ in self._tables)

    def _give(self, name: str, term: Term) -> None:
        """Passes a parameter's gradients on, once all its uses have arrived: their sum counts, not each."""
        if self._uses[name] == 1:
            self.sink(name, term)
            return
        self._pending[name].append(term)
        if len(self._pending[name]) == self._uses[name]:
            total, *rest = self._pending.pop(name)
            for other in rest:
                total = total.merge(other)
            self.sink(name, total)

    def flush(self) -> None:
        """Passes on what waits for uses that the backward pass did not reach."""
        for name, terms in list(self._pending.items()):
            total, *rest = terms
            for other in rest:
                total = total.merge(other)
            self.sink(name, total)
        self._pending.clear()

    def unheard(self, images: Tensor, select: Callable | None) -> dict[str, str]:
        """Returns modules whose parameters act although no call of theirs tells samples apart: path to reason."""
        missed = [o for o in self.owners if o.rule is not None and id(o.module) not in self._called]
        acting = self._acting(missed, images, select)
        return self.aside | {owner.path: "its parameters are used without calling it" for owner in acting}

    def _acting(self, missed: list[Owner], images: Tensor, select: Callable | None) -> list[Owner]:
        if not missed:
            return []
        tensors = [(owner, owner.module.get_parameter(own)) for owner in missed for own in owner.names]
        for _, parameter in tensors:
            parameter.requires_grad_(True)
        self._replaying = True
        try:
            with torch.enable_grad(), _single(self._swapped):
                total = run(self.network, images[:1], select).sum()
                if not total.requires_grad:
                    return []
                used = torch.autograd.grad(total, [p for _, p in tensors], allow_unused=True)
        finally:
            self._replaying = False
            for _, parameter in tensors:
                parameter.requires_grad_(False)
        return [owner for (owner, _), grad in zip(tensors, used, strict=True) if grad is not None]


@contextmanager
def _single(swapped: list) -> Iterator[None]:
    """Shrinks expanded tables to one sample for a while."""
    held = [(module, name, getattr(module, name)) for module, name in swapped]
    for module, name, leaf in held:
        object.__setattr__(module, name, leaf.detach()[:1])
    try:
        yield
    finally:
        for module, name, leaf in held:
            object.__setattr__(module, name, leaf)
