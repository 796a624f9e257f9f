"""`tangent_kernel`: one forward and one backward pass over the batch, and the Gram matrix of every layer on the way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError, NumericalError, UnsupportedModuleError, bad_value, one_of
from vintk_kit.ntk.gram import Gram
from vintk_kit.ntk.groups import block_match, parameter_group
from vintk_kit.ntk.kernel import LIMITS, TangentKernel
from vintk_kit.ntk.outputs import check_output, directions, run
from vintk_kit.ntk.owners import Chooser, Detours, check_mode, chosen
from vintk_kit.ntk.recorder import recording
from vintk_kit.ntk.replay import dense_gradients, empty_caches
from vintk_kit.spectrum import condition_number

PRECISIONS = ("auto", "fast", "float64")


def tangent_kernel(
    network: nn.Module,
    images: Tensor,
    *,
    output: str | int = "sum",
    params: str | Chooser = "weights",
    groups: bool = True,
    dtype: torch.dtype | None = None,
    precision: str = "auto",
    sketch: int | None = None,
    seed: int = 0,
    probes: int = 8,
    block_size: int | None = None,
    select: Callable[[object], Tensor] | None = None,
    autocast: torch.dtype | None = None,
) -> TangentKernel:
    """Computes the empirical tangent kernel K_ij = <∂f(x_i)/∂θ, ∂f(x_j)/∂θ> of a network on a batch.

    One forward and one backward pass give every layer's output gradients for all samples at once; per-sample weight
    gradients and their Gram matrix are formed layer by layer and dropped. Nothing of the network changes.

    Args:
        network: In eval mode; layers as in `vintk_kit.ntk.RULES`, or of timm.
        images: Inputs of shape (N, ...), on the network's device.
        output: f. "sum": the sum of all outputs (TE-NAS). "probes": mean over `probes` kernels of f = <v, output>
            with random signs v, an unbiased estimate of the trace. "trace": the sum over outputs o of the kernels of
            f = output_o, one backward pass each (divide by C for the mean). An integer: that logit. A dense output
            (N, C, H, W) counts as one vector; an integer then means the sum over pixels of that channel.
        params: "weights" (names containing "weight", as TE-NAS), "all", or a function (name, parameter) -> bool.
            Parameters with requires_grad False are left out.
        groups: Whether to keep one kernel per layer group and block; otherwise one part, ("other", None).
        dtype: Precision of network and gradients; by default the network's own. Another one works on a copy.
        precision: Of the Gram products, over float32 gradients: "fast" is float32 inside blocks and float64 between,
            right up to a condition number of 1e5; "float64" up to 1e9 at about twice the cost; "auto" starts with
            "fast" and repeats in float64 when the eigenvalues ask for it.
        sketch: None, or r (64 is a good choice): a random sketch, cheaper and approximate; see docs/kernel.md.
        seed: Of the sketch and of the probes.
        probes: R, for output="probes".
        block_size: Samples per pass when all do not fit into memory: pairs of blocks, the same result.
        select: Picks the tensor from what the network returns.
        autocast: torch.bfloat16 runs the network in autocast: see docs/kernel.md.

    Returns:
        The kernel, exact and symmetric positive semi-definite up to rounding (if not sketched). Its condition number
        means nothing for N = 1, and less than nothing where `reliable` is False.

    Raises:
        UnsupportedModuleError: A layer has no rule; the message names class and path.
        InputError: Bad arguments, batch norm or dropout in train mode, or a network that returns no tensor.
        NumericalError: NaN or infinity in images, weights or the kernel.

    Cost: about 1.0 to 1.5 forward-backwards for N = 32, R times the backward part for R directions; for timm's modules
    without a rule, N runs of the module more.
    """
    check_output(output, probes)
    one_of("precision", precision, PRECISIONS)
    check_images(images, sketch, block_size)
    check_mode(network)
    if dtype is not None and any(p.dtype != dtype for p in network.parameters()):
        network = copy.deepcopy(network).to(dtype)
    if dtype is not None:
        images = images.to(dtype)
    parameters = chosen(network, params)
    double = images.dtype == torch.float64
    gram_dtype = torch.float64 if precision == "float64" else None
    settings = {"output": output, "probes": probes, "seed": seed, "select": select, "autocast": autocast}
    settings["detours"] = Detours()

    def compute(gram_dtype: torch.dtype | None) -> dict[str, Tensor]:
        gram = lambda n: Gram(n, gram_dtype, sketch, seed)  # noqa: E731
        if block_size is None or block_size >= len(images):
            return one_pass(network, parameters, images, gram(len(images)), **settings)
        return _pairs(network, parameters, images, gram, block_size, **settings)

    named = compute(gram_dtype)
    passes = 1.2
    if precision == "auto" and not double and not sketch and len(images) > 1:
        total = torch.stack(list(named.values())).sum(0)
        if condition_number(total) > LIMITS[torch.float32]:
            named, gram_dtype, passes = compute(torch.float64), torch.float64, passes + 2.2
    limit = LIMITS["double"] if double else LIMITS[gram_dtype or torch.float32]
    parts = grouped(network, named) if groups else {("other", None): torch.stack(list(named.values())).sum(0)}
    return TangentKernel(parts, limit if autocast is None else 1e3, output, sketch, passes)


def check_images(images: Tensor, sketch: int | None = None, block_size: int | None = None) -> None:
    """Raises if images are not (N, ...) finite numbers, or if a size is not positive."""
    if not isinstance(images, Tensor) or images.ndim < 2 or not len(images):
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise bad_value("images", shape, "a tensor of shape (N, ...) with N >= 1")
    if images.is_floating_point() and not torch.isfinite(images).all():
        raise NumericalError("the images hold NaN or infinity")
    if sketch is not None and sketch < 1:
        raise bad_value("sketch", sketch, "None or a positive number of rows")
    if block_size is not None and block_size < 1:
        raise bad_value("block_size", block_size, "None or a positive number of samples")


def one_pass(
    network: nn.Module,
    parameters: dict[str, nn.Parameter],
    images: Tensor,
    gram: Gram,
    *,
    output: str | int,
    probes: int,
    seed: int,
    select: Callable | None,
    autocast: torch.dtype | None,
    detours: Detours | None = None,
) -> dict[str, Tensor]:
    """One forward, as many backwards as there are directions; the kernel of each parameter."""
    images = images.detach()
    scaled: dict[str, Tensor] = {}
    with recording(network, parameters, images, gram, select, autocast, detours) as (recorder, result):
        if not result.requires_grad:
            raise InputError(f"the output of {type(network).__name__} depends on none of the chosen parameters")
        todo = list(directions(result, output, probes, seed))
        for index, (direction, weight) in enumerate(todo):
            recorder.keep = index < len(todo) - 1
            gram.parts = {}
            torch.autograd.backward(result, direction.to(result), retain_graph=recorder.keep)
            recorder.flush()
            for name, kernel in gram.parts.items():
                kernel = kernel if weight == 1 else weight * kernel
                scaled[name] = scaled[name] + kernel if name in scaled else kernel
    _check_finite(scaled)
    if recorder.regrouped and output == "sum" and autocast is None:
        _check_order(network, parameters, images[:2], select, sum(float(kernel[0, 0]) for kernel in scaled.values()))
    return scaled


def _check_finite(kernels: dict[str, Tensor]) -> None:
    if not torch.isfinite(torch.stack(list(kernels.values()))).all():
        name = next(name for name, kernel in kernels.items() if not torch.isfinite(kernel).all())
        raise NumericalError(f"the gradients of {name!r} hold NaN or infinity")


def _check_order(
    network: nn.Module, parameters: dict[str, nn.Parameter], images: Tensor, select: Callable | None, found: float
) -> None:
    """Compares K_00 with plain autograd: a network that puts tokens before samples would be wrong in silence."""
    with torch.enable_grad(), empty_caches(network), dense_gradients(network):
        total = run(network, images, select)[0].sum()
    grads = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    exact = sum(float(grad.double().square().sum()) for grad in grads if grad is not None)
    if abs(found - exact) > 1e-2 * exact:
        raise UnsupportedModuleError(
            f"{type(network).__name__} mixes samples with tokens in the first dimension of some layer (samples must be "
            f"outermost), or one sample's output depends on others: K_00 is {exact:.6g}, not {found:.6g}"
        )


def _pairs(
    network: nn.Module,
    parameters: dict[str, nn.Parameter],
    images: Tensor,
    gram: Callable[[int], Gram],
    size: int,
    **settings: object,
) -> dict[str, Tensor]:
    """The same kernel from passes over two blocks of `size` // 2 samples each, so that no pass sees more than that."""
    n, half = len(images), max(1, size // 2)
    blocks = [torch.arange(start, min(start + half, n)) for start in range(0, n, half)]
    named: dict[str, Tensor] = {}
    for i, first in enumerate(blocks):
        for second in blocks[i + 1 :]:
            index = torch.cat([first, second])
            found = one_pass(network, parameters, images[index.to(images.device)], gram(len(index)), **settings)
            for name, kernel in found.items():
                whole = named.setdefault(name, torch.zeros(n, n, dtype=torch.float64))
                whole[index[:, None], index[None, :]] = kernel
    return named


def grouped(network: nn.Module, named: dict[str, Tensor]) -> dict[tuple[str, int | None], Tensor]:
    """Sums the kernels of parameters over layer groups and blocks.

    Blocks of networks with several stages are numbered through, in the order of the network.
    """
    modules = dict(network.named_modules())
    numbers: dict[str, int] = {}
    for path in modules:
        match = block_match(path)
        if match:
            numbers.setdefault(path[: match.end()], len(numbers))
    several = len({prefix.rpartition(".")[0] for prefix in numbers}) > 1
    parts: dict[tuple[str, int | None], Tensor] = {}
    for name, kernel in named.items():
        group, block = parameter_group(name, modules)
        if several and block is not None:
            block = numbers[name[: block_match(name.rpartition(".")[0]).end()]]
        parts[group, block] = parts[group, block] + kernel if (group, block) in parts else kernel
    return parts
