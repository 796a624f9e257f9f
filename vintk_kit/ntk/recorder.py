"""Hooks on a network that turn one backward pass into per-sample gradients of every parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError, UnsupportedModuleError
from vintk_kit.ntk import onednn
from vintk_kit.ntk.groups import POSITION
from vintk_kit.ntk.rules import Call, Rule, rule_for
from vintk_kit.ntk.terms import Rows, Term

Sink = Callable[[str, Term], None]
"""Receives the name of a parameter and its per-sample gradients."""

Chooser = Callable[[str, nn.Parameter], bool]

PARAMETERS: dict[str, Chooser] = {
    "weights": lambda name, _: "weight" in name,
    "all": lambda name, _: True,
}


@dataclass
class Owner:
    """A module with parameters of its own that are asked for, and how their gradients are found."""

    path: str
    module: nn.Module
    rule: Rule | None
    names: dict[str, str]  # of the module's own parameters to the network's name of each


def chosen(network: nn.Module, params: str | Chooser) -> dict[str, nn.Parameter]:
    """Returns the parameters asked for, by name; frozen ones (requires_grad False) are left out.

    Raises:
        InputError: `params` is not known, or nothing is left.
    """
    if not callable(params) and params not in PARAMETERS:
        raise InputError(f"params: got {params!r}; allowed: {', '.join(PARAMETERS)}, or a function (name, parameter)")
    choose = params if callable(params) else PARAMETERS[params]
    found = {name: p for name, p in network.named_parameters() if p.requires_grad and choose(name, p)}
    if not found:
        raise InputError(f"params: got {params!r}, which leaves no trainable parameter of {type(network).__name__}")
    return found


def owners(network: nn.Module, parameters: dict[str, nn.Parameter]) -> list[Owner]:
    """Returns the modules that own the parameters.

    Raises:
        UnsupportedModuleError: A module has no rule.
    """
    names = {id(p): name for name, p in parameters.items()}
    found = []
    for path, module in network.named_modules():
        own = {k: names[id(p)] for k, p in module._parameters.items() if p is not None and id(p) in names}
        if isinstance(module, nn.MultiheadAttention):
            raise _unsupported(path, module, "its projections are used inside one function")
        if not own:
            continue
        rule = rule_for(module)
        if rule is None and not all(_per_sample(k, module._parameters[k]) for k in own):
            raise _unsupported(path, module, f"it has no rule for {', '.join(own)}")
        found.append(Owner(path, module, rule, own))
    return found


def _per_sample(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a token or position table added to every sample alike."""
    return parameter.ndim >= 3 and len(parameter) == 1 and any(word in name for word in POSITION)


def _unsupported(path: str, module: nn.Module, reason: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        f"{type(module).__name__} at {path or 'the root'!r} is not supported by the tangent kernel: {reason}. "
        "Add a rule to vintk_kit.ntk.rules.RULES, or leave its parameters out with params=<function>."
    )


def check_mode(network: nn.Module) -> None:
    """Refuses layers whose present mode couples samples or draws random numbers.

    Raises:
        InputError: Batch norm with batch statistics, or dropout or stochastic depth in train mode.
    """
    for path, module in network.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.training or module.running_mean is None:
                raise InputError(
                    f"{kind} at {path!r} uses batch statistics, which couple the samples: the kernel would be another "
                    "one. Call network.eval() first (and keep track_running_stats=True)."
                )
        elif module.training:
            rate = getattr(module, "p", getattr(module, "drop_prob", 0)) if "Drop" in kind else 0
            if isinstance(rate, float | int) and rate > 0:
                raise InputError(f"{kind} at {path!r} is random in train mode; call network.eval() first")


class Recorder:
    """Computes per-sample gradients of one forward and any number of backward passes.

    Use it as a context: inside, parameters are frozen, hooks are in place and broadcast parameters are expanded; on
    leaving, all is as before.

    Args:
        network: The network.
        parameters: Result of `chosen`.
        samples: N.
        sink: Receives each parameter's gradients, once per backward pass.
    """

    def __init__(self, network: nn.Module, parameters: dict[str, nn.Parameter], samples: int, sink: Sink) -> None:
        self.network, self.parameters, self.samples, self.sink = network, parameters, samples, sink
        self.owners = owners(network, parameters)
        self.keep = False  # set while another backward pass is to follow
        self.regrouped = False  # whether some layer saw a first dimension other than N
        self._uses: dict[str, int] = defaultdict(int)
        self._pending: dict[str, list[Term]] = defaultdict(list)
        self._called: set[int] = set()
        self._replaying = False

    def __enter__(self) -> Recorder:
        self._handles, self._swapped, self._tables = [], [], []
        self._products = onednn.float32_products()
        self._products.__enter__()
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
        self._products.__exit__(None, None, None)
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
            if not args or not isinstance(output, Tensor):
                raise _unsupported(owner.path, module, "it is not called as module(input) -> tensor")
            self._called.add(id(module))
            given = tuple([a.detach() if isinstance(a, Tensor) else a for a in args])
            call = Call(module, owner.path, self.samples, owner.names.keys(), given, kwargs)
            self.regrouped |= output.ndim == 0 or output.shape[0] != self.samples
            for name in owner.names.values():
                self._uses[name] += 1
            leaf = not output.requires_grad
            if leaf:
                # A clone, because what follows may work in place, which a leaf forbids.
                output = output.detach().requires_grad_().clone()
            output.register_hook(self._tensor_hook(owner, call))
            return output if leaf else None

        return hook

    def _tensor_hook(self, owner: Owner, call: Call) -> Callable[[Tensor], None]:
        version = call.args[0]._version

        def hook(grad: Tensor) -> None:
            x = call.args[0]
            if x._version != version:
                raise _unsupported(owner.path, owner.module, "its input is changed in place after the call")
            self._replaying = True
            try:
                if grad.dtype != x.dtype and x.is_floating_point():
                    grad = grad.to(x.dtype)
                for own, term in owner.rule(call, grad).items():
                    self._give(owner.names[own], term)
            finally:
                self._replaying = False
            if not self.keep:
                call.args = ()

        return hook

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

    def check_functional(self, images: Tensor, select: Callable) -> None:
        """Refuses modules that were never called but whose parameters act: the hooks would miss them silently."""
        missed = [o for o in self.owners if o.rule is not None and id(o.module) not in self._called]
        if not missed:
            return
        tensors = [(o, o.module._parameters[own]) for o in missed for own in o.names]
        for _, parameter in tensors:
            parameter.requires_grad_(True)
        self._replaying = True
        try:
            with torch.enable_grad(), _single(self._swapped):
                total = select(self.network(images[:1])).sum()
                if not total.requires_grad:
                    return
                used = torch.autograd.grad(total, [p for _, p in tensors], allow_unused=True)
        finally:
            self._replaying = False
            for _, parameter in tensors:
                parameter.requires_grad_(False)
        for (owner, _), grad in zip(tensors, used, strict=True):
            if grad is not None:
                raise _unsupported(owner.path, owner.module, "its parameters are used without calling it")


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
