"""Training-free scores of networks: one registry, one candidate that shares what several of them need.

candidate = Candidate(network, images, labels)
evaluate(["vintk", "ntk(params='all')", "snip"], candidate)   # one dict per proxy, also for a failing one
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vintk_kit.errors import InputError, bad_value
from vintk_kit.proxies import activation, attention, aznas, dss, geometry, kernel, meco, saliency, size, zico
from vintk_kit.proxies.aggregate import log_rank, rank_sum
from vintk_kit.proxies.base import Oriented, Proxy
from vintk_kit.proxies.candidate import Candidate
from vintk_kit.specs import Spec, parse_spec

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PROXIES",
    "Candidate",
    "Oriented",
    "Proxy",
    "check_proxies",
    "evaluate",
    "log_rank",
    "proxy_table",
    "rank_sum",
]

FAMILIES = (kernel, saliency, dss, zico, activation, attention, aznas, meco, geometry, size)
PROXIES: dict[str, Proxy] = {proxy.name: proxy for family in FAMILIES for proxy in family.PROXIES}
"""Name to proxy. Others may be added: PROXIES["mine"] = Proxy("mine", ...)."""


def check_proxies(specs: Sequence[str | Spec]) -> list[Spec]:
    """Checks names and options before any work starts.

    Args:
        specs: Spec strings; "all" stands for every proxy of the registry with its default options.

    Returns:
        Canonical specs, without options that equal their default.

    Raises:
        InputError: An unknown name or option, or a value that is not allowed.
    """
    found: list[Spec] = []
    for item in [specs] if isinstance(specs, str | Spec) else specs:
        spec = parse_spec(item)
        names = [Spec(name) for name in PROXIES] if spec == Spec("all") else [_checked(spec)]
        found += [one for one in names if one not in found]
    return found


def _checked(spec: Spec) -> Spec:
    if spec.name not in PROXIES:
        raise bad_value("proxy", spec.name, ["all", *PROXIES])
    proxy = PROXIES[spec.name]
    for name, value in spec.options:
        if name not in proxy.options:
            allowed = ", ".join(f"{key}={default!r}" for key, default in proxy.options.items()) or "no options"
            raise bad_value(f"option of {spec.name}", name, allowed)
        _check_value(proxy, name, value)
    if proxy.check is not None:
        proxy.check({**proxy.options, **spec.kwargs})
    different = [
        (k, v)
        for k, v in spec.options
        if v != proxy.options[k] or isinstance(v, bool) != isinstance(proxy.options[k], bool)
    ]
    return Spec(spec.name, tuple(different))


def _check_value(proxy: Proxy, name: str, value: Any) -> None:
    what, default = f"{proxy.name}: {name}", proxy.options[name]
    if name in proxy.allowed:
        if value not in proxy.allowed[name]:
            raise bad_value(what, value, [repr(one) for one in proxy.allowed[name]])
        return
    kinds: tuple[type, ...] = (type(default),)
    if isinstance(default, float) or default is None:
        kinds = (int, float) if default is not None else (int, float, type(None))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise bad_value(what, value, " or ".join(kind.__name__ for kind in kinds))


def evaluate(specs: Sequence[str | Spec], candidate: Candidate) -> list[dict[str, Any]]:
    """Scores one candidate with several proxies, which share passes and kernels.

    Args:
        specs: Proxies, as for `check_proxies`.
        candidate: The network with its batch.

    Returns:
        One dict per proxy: proxy (canonical spec), score (higher is better), raw, seconds, passes (forward-backward
        units spent; 0 if all was shared), error (None, or "Type: message" with score and raw None).

    Raises:
        InputError: Bad specs. A proxy that fails never raises.
    """
    return [_row(spec, candidate) for spec in check_proxies(specs)]


def _row(spec: Spec, candidate: Candidate) -> dict[str, Any]:
    proxy = PROXIES[spec.name]
    begin, spent = time.perf_counter(), candidate.passes
    raw = score = error = None
    try:
        value = proxy.function(candidate, **{**proxy.options, **spec.kwargs})
        raw, sign = value if isinstance(value, Oriented) else (value, proxy.sign)
        raw = float(raw)
        score = sign * raw
        if not math.isfinite(raw):
            error = f"NumericalError: the raw value is {raw}"
    except Exception as failure:
        error = f"{type(failure).__name__}: {' '.join(str(failure).split())[:500]}"
    if error is not None:
        raw = score = None
    return {
        "proxy": str(spec),
        "score": score,
        "raw": raw,
        "seconds": time.perf_counter() - begin,
        "passes": candidate.passes - spent,
        "error": error,
    }


def proxy_table() -> pd.DataFrame:
    """Returns one row per proxy: name, family, needs, cost (forward-backward units), sign, options, source."""
    import pandas as pd

    rows = [
        {
            "name": proxy.name,
            "family": proxy.family,
            "needs": " ".join(need for need in ("data", "labels", "gradients") if need in proxy.needs) or "-",
            "cost": proxy.cost,
            "sign": proxy.sign,
            "options": ", ".join(f"{name}={value!r}" for name, value in proxy.options.items()),
            "source": proxy.source,
        }
        for proxy in PROXIES.values()
    ]
    return pd.DataFrame(rows)


def get_proxy(name: str) -> Proxy:
    """Returns the proxy of this name; `InputError` lists the known ones."""
    if name not in PROXIES:
        raise InputError(f"proxy: got {name!r}; allowed: {', '.join(PROXIES)}")
    return PROXIES[name]
