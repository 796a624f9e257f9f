"""Scores from the tangent kernel of the batch, and ViNTK: the kernel of what Fourier features make of it.

All statistics of one kernel cost what one costs: a candidate computes each kernel once.

Conventions of the public implementations, as options of `ntk`:

| convention | kernel |
|---|---|
| `te-nas` | gradient of the sum of logits; parameters whose name contains "weight" (with `params`); eval mode |
| `te-nas-train` | the same with batch norm in train mode, where rows are coupled (as TE-NAS runs) |
| `tf-tas` | weights with two dimensions or more: patch embedding and Linear layers |
| `tf-tas-released` | as its code runs: gradients are never cleared, row i is the sum of the first i gradients |
| `as-vit` | gradient of the summed token mean of the last block, before the final norm |

`output="trace"` differentiates every logit instead of their sum.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vintk_kit.errors import UnsupportedModuleError, bad_value
from vintk_kit.fourier import KINDS, FourierFeatures
from vintk_kit.proxies.base import ALL_NEEDS, DATA_GRADIENTS, Oriented, Proxy
from vintk_kit.proxies.candidate import Candidate, logits, transformer_blocks
from vintk_kit.spectrum import STATISTICS, centred, statistic

VINTK_DEFAULT: dict[str, Any] = {
    "kind": "bandpass",
    "low": 2.0,
    "high": None,
    "sigma": 1.0,
    "num_frequencies": 4,
    "feature_seed": 0,
    "groups": "all",
    "statistic": "nuclear_norm",
    "combine": "joint",
    "per_block": True,
    "centered": False,
    "output": "sum",
    "params": "weights",
}
"""The defaults of `vintk`, in this one place."""

COMBINE = ("replace", "sum", "rank", "joint")
CONVENTIONS = ("te-nas", "te-nas-train", "tf-tas", "tf-tas-released", "as-vit")
OUTPUTS = ("sum", "trace", "probes")
PARAMS = ("weights", "all")


def ntk(
    candidate: Candidate,
    convention: str = "te-nas",
    params: str = "weights",
    output: str = "sum",
    centered: bool = False,
    groups: str = "all",
) -> float:
    """Condition number λmax/λmin of the tangent kernel (TE-NAS, ICLR 2021); lower is better, so the score is -κ.

    Args:
        candidate: The network with its batch.
        convention: Which implementation, see this module's table. `params`, `output`, `groups` are of te-nas.
        params: "weights" or "all".
        output: "sum", "trace" or "probes".
        centered: Of the centred kernel without its forced zero eigenvalue.
        groups: Layer groups, such as "attention+mlp".

    A singular kernel (equal images) has no κ: the row carries an error. TE-NAS replaces NaN by 1e5 instead.
    """
    name = "centred_condition_number" if centered else "condition_number"
    return statistic(_convention(candidate, convention, params, output, groups), name)


def _convention(candidate: Candidate, convention: str, params: str, output: str, groups: str) -> Tensor:
    if convention == "te-nas":
        return candidate.kernel(params=params, output=output).group(groups)
    if convention in ("te-nas-train", "as-vit"):
        return candidate.cached(("loop", convention), lambda: loop_kernel(candidate, convention))
    matrix = candidate.kernel(params="matrices").group(groups)
    if convention == "tf-tas":
        return matrix
    lower = torch.ones_like(matrix).tril()
    return lower @ matrix @ lower.T


def loop_kernel(candidate: Candidate, convention: str) -> Tensor:
    """Computes a kernel with one backward per sample, as the original codes do; cost N.

    Args:
        candidate: The network with its batch.
        convention: "te-nas-train" or "as-vit".

    Returns:
        (N, N) float64.
    """
    train = convention == "te-nas-train"
    network = candidate.copy("train" if train else "eval")
    images = candidate.images
    with torch.enable_grad():
        per_sample = logits(network, images).flatten(1).sum(1) if train else last_tokens(network, images).mean(1).sum(1)
        named = [(n, p) for n, p in network.named_parameters() if "weight" in n]
        rows = []
        for value in per_sample:
            gradients = torch.autograd.grad(value, [p for _, p in named], retain_graph=True, allow_unused=True)
            rows.append(torch.cat([g.flatten().double() for g in gradients if g is not None]))
    candidate.spend(float(len(images)))
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


def last_tokens(network: nn.Module, images: Tensor) -> Tensor:
    """Returns the output (N, T, D) of the last transformer block, before the final norm."""
    blocks = transformer_blocks(network)
    if not blocks:
        raise UnsupportedModuleError(f"{type(network).__name__} has no transformer blocks, which this needs")
    kept: list[Tensor] = []
    handle = blocks[-1][1].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        network(images)
    finally:
        handle.remove()
    return kept[-1].flatten(1, -2) if kept[-1].ndim == 4 else kept[-1]


def _statistic(name: str, centre: bool = False):
    def function(
        candidate: Candidate, params: str = "weights", output: str = "sum", centered: bool = centre, groups: str = "all"
    ) -> float:
        matrix = candidate.kernel(params=params, output=output).group(groups)
        return statistic(centred(matrix) if centered and name != "centred_condition_number" else matrix, name)

    function.__doc__ = f"{STATISTICS[name][0].__doc__} Of the tangent kernel."
    return function


def mgm(candidate: Candidate, params: str = "weights", output: str = "sum", groups: str = "all") -> float:
    """Mean of all entries of the kernel (KNAS, ICML 2021: mean of the Gram matrix of gradients); higher is better."""
    return float(candidate.kernel(params=params, output=output).group(groups).mean())


def _same_class(candidate: Candidate) -> Tensor:
    labels = candidate.labels.cpu()
    return (labels[:, None] == labels[None, :]).double()


def kta(
    candidate: Candidate, params: str = "weights", output: str = "sum", groups: str = "all", centered: bool = True
) -> float:
    """Alignment <K, YYᵀ> / (||K|| ||YYᵀ||) with the kernel of one-hot labels Y (Cristianini et al., NeurIPS 2001).

    centered=True centres both kernels (Cortes et al., JMLR 2012). Means nothing if all labels are equal or all differ.
    """
    matrix, target = candidate.kernel(params=params, output=output).group(groups), _same_class(candidate)
    if centered:
        matrix, target = centred(matrix), centred(target)
    return float((matrix * target).sum() / (matrix.norm() * target.norm()))


def lga(candidate: Candidate, params: str = "weights", output: str = "sum", groups: str = "all") -> float:
    """Label-gradient alignment (Mok et al., CVPR 2022): correlation of entries of K and of Y_ij = ±1 (same class?).

    Both matrices lose the mean of their entries. Proposed after a few epochs of training; here at initialisation.
    """
    matrix = candidate.kernel(params=params, output=output).group(groups)
    target = 2 * _same_class(candidate) - 1
    matrix, target = matrix - matrix.mean(), target - target.mean()
    return float((matrix * target).sum() / (matrix.norm() * target.norm()))


def vintk(candidate: Candidate, **options: Any) -> Oriented:
    """ViNTK: a statistic of the tangent kernel of Fourier features of the images (after arXiv 2405.04536).

    The paper's exact formula is not public, so the parts are options, with the defaults of `VINTK_DEFAULT`:

    * kind, low, high, sigma, num_frequencies, feature_seed: the mapping γ, see `vintk_kit.fourier`.
    * combine: "replace" takes the kernel of γ(x); "sum" adds the plain kernel to it; "rank" is the geometric mean of
      both statistics (their mean for log_det, a logarithm already), a smooth stand-in for the mean of two ranks;
      "joint" takes the one kernel of the 2N images [x, γ(x)], with the similarity of an image and its high frequencies.
    * groups: layer groups, "attention+mlp" and the like. statistic: one of `vintk_kit.spectrum.STATISTICS`; its sign
      orients the score. centered: centre the kernel first.
    * per_block: the sum over blocks of the statistic of the group's kernel inside that block. A network without
      numbered blocks counts as one.
    * output, params: as in `tangent_kernel`.

    Kinds that change the number of channels rebuild the candidate; they do not go with "joint".
    """
    chosen = {**VINTK_DEFAULT, **options}
    features = _features(chosen)
    settings = {"output": chosen["output"], "params": chosen["params"]}
    name, sign = chosen["statistic"], STATISTICS[chosen["statistic"]][1]
    combine = chosen["combine"]
    if combine == "joint":
        return Oriented(_value(_matrices(candidate.kernel(features, joint=True, **settings), chosen), chosen), sign)
    mapped = _matrices(candidate.kernel(features, **settings), chosen)
    if combine == "replace":
        return Oriented(_value(mapped, chosen), sign)
    base = _matrices(candidate.kernel(**settings), chosen)
    if combine == "sum":
        return Oriented(_value([a + b for a, b in zip(base, mapped, strict=True)], chosen), sign)
    first, second = _value(base, chosen), _value(mapped, chosen)
    if name == "log_det":
        return Oriented((first + second) / 2, sign)
    return Oriented(math.sqrt(first * second) if first > 0 and second > 0 else math.nan, sign)


def _features(options: dict[str, Any]) -> FourierFeatures:
    names = ("kind", "low", "high", "sigma", "num_frequencies")
    return FourierFeatures(seed=options["feature_seed"], **{name: options[name] for name in names})


def _matrices(kernel: Any, options: dict[str, Any]) -> list[Tensor]:
    groups = options["groups"]
    by_block = options["per_block"] and kernel.blocks()
    found = [matrix for _, matrix in kernel.blocks(groups)] if by_block else [kernel.group(groups)]
    if not found:
        raise UnsupportedModuleError(f"per_block: no block holds a layer of {groups!r}")
    return [centred(matrix) for matrix in found] if options["centered"] else found


def _value(matrices: list[Tensor], options: dict[str, Any]) -> float:
    return sum(statistic(matrix, options["statistic"]) for matrix in matrices)


def _check_vintk(options: dict[str, Any]) -> None:
    features = _features(options)
    if options["combine"] == "joint" and features.out_channels(3) != 3:
        raise bad_value("vintk: combine", "joint", f"replace, sum or rank with kind={options['kind']!r}")
    if options["centered"] and options["statistic"] in ("condition_number", "log_det", "min_eigenvalue"):
        allowed = "other statistics (a centred kernel is singular), or statistic='centred_condition_number'"
        raise bad_value("vintk: statistic with centered=True", options["statistic"], allowed)


_OPTIONS = {"params": "weights", "output": "sum", "groups": "all"}
_ALLOWED = {"params": PARAMS, "output": OUTPUTS}
_PLAIN = {
    "ntk-trace": ("trace", "sum of squared gradient norms"),
    "ntk-logdet": ("log_det", "log-determinant"),
    "ntk-centered": ("centred_condition_number", "κ of the centred kernel"),
    "ntk-effective-rank": ("effective_rank", "exp of the spectral entropy"),
    "ntk-min-eigenvalue": ("min_eigenvalue", "λmin"),
    "ntk-max-eigenvalue": ("max_eigenvalue", "λmax"),
    "ntk-alignment": ("mean_alignment", "share of the kernel common to all samples"),
}

PROXIES = (
    Proxy(
        "ntk",
        "kernel",
        ntk,
        -1,
        DATA_GRADIENTS,
        1.2,
        "TE-NAS, Chen et al. 2021",
        {**_OPTIONS, "convention": "te-nas", "centered": False},
        {**_ALLOWED, "convention": CONVENTIONS},
    ),
    Proxy(
        "vintk",
        "kernel",
        vintk,
        1,
        DATA_GRADIENTS,
        2.4,
        "after Zhou and Zhu 2024, arXiv 2405.04536",
        VINTK_DEFAULT,
        {**_ALLOWED, "kind": KINDS, "statistic": tuple(STATISTICS), "combine": COMBINE},
        _check_vintk,
    ),
    *(
        Proxy(name, "kernel", _statistic(which), STATISTICS[which][1], DATA_GRADIENTS, 1.2, source, _OPTIONS, _ALLOWED)
        for name, (which, source) in _PLAIN.items()
    ),
    Proxy("mgm", "kernel", mgm, 1, DATA_GRADIENTS, 1.2, "KNAS, Xu et al. 2021", _OPTIONS, _ALLOWED),
    Proxy("lga", "kernel", lga, 1, ALL_NEEDS, 1.2, "Mok et al. 2022", _OPTIONS, _ALLOWED),
    Proxy(
        "kta",
        "kernel",
        kta,
        1,
        ALL_NEEDS,
        1.2,
        "Cristianini 2001; Cortes 2012",
        {**_OPTIONS, "centered": True},
        _ALLOWED,
    ),
)
