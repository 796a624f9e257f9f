"""Which parameters a kernel is of, which modules own them, and which modes of a network couple samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from vintk_kit.errors import InputError
from vintk_kit.ntk.call import Rule, unsupported
from vintk_kit.ntk.groups import POSITION
from vintk_kit.ntk.replay import is_timm, replayed
from vintk_kit.ntk.rules import rule_for

Chooser = Callable[[str, nn.Parameter], bool]

PARAMETERS: dict[str, Chooser] = {
    "weights": lambda name, _: "weight" in name,
    "all": lambda name, _: True,
}


@dataclass
class Owner:
    """A module with parameters that are asked for, and how their gradients are found.

    Attributes:
        names: Of the parameters inside the module, to the network's name of each.
        rule: None for tables that are added to every sample alike.
    """

    path: str
    module: nn.Module
    rule: Rule | None
    names: dict[str, str]


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


@dataclass
class Detours:
    """What forward passes of a network have shown of layers that are not used in the ordinary way.

    Attributes:
        lifted: Modules whose parameters the nearest timm module around them owns instead, because it uses them in a way
            that their own calls do not show: path to reason.
        expand: Whether tables are added to every sample alike, so that they may be expanded to one copy per sample.
    """

    lifted: dict[str, str] = field(default_factory=dict)
    expand: bool = True


def owners(network: nn.Module, parameters: dict[str, nn.Parameter], detours: Detours) -> list[Owner]:
    """Returns the modules that own the parameters.

    Raises:
        UnsupportedModuleError: A module has no rule, or a lifted one has no timm module around it.
    """
    names = {id(p): name for name, p in parameters.items()}
    modules = dict(network.named_modules())
    found, above = [], {}
    for path, module in modules.items():
        own = {k: names[id(p)] for k, p in module._parameters.items() if p is not None and id(p) in names}
        if isinstance(module, nn.MultiheadAttention) and any(id(p) in names for p in module.parameters()):
            raise unsupported(path, module, "its projections are used inside one function")
        if not own:
            continue
        if path in detours.lifted:
            top = _timm_around(path, modules, detours.lifted)
            above.setdefault(top, {}).update({f"{path[len(top) :].lstrip('.')}.{k}": name for k, name in own.items()})
            continue
        rule = rule_for(module)
        if rule in (None, replayed) and detours.expand and all(_per_sample(k, module._parameters[k]) for k in own):
            rule = None
        elif rule is None:
            raise unsupported(path, module, f"it has no rule for {', '.join(own)}")
        found.append(Owner(path, module, rule, own))
    for owner in found:
        if owner.rule is replayed:
            owner.names |= above.pop(owner.path, {})
    return found + [Owner(path, modules[path], replayed, own) for path, own in above.items()]


def _timm_around(path: str, modules: dict[str, nn.Module], lifted: Mapping[str, str]) -> str:
    around = path
    while around:
        around = around.rpartition(".")[0]
        if around not in lifted and is_timm(modules[around]):
            return around
    raise unsupported(path, modules[path], lifted[path])


def _per_sample(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a token or position table added to every sample alike."""
    return parameter.ndim >= 3 and len(parameter) == 1 and any(word in name for word in POSITION)


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
