"""Scores from gradients with respect to weights.

All read the weights of Conv2d and Linear layers (no bias, norm, token or position table), as
zero-cost-nas (Abdelfattah et al., ICLR 2021) does. It runs in train mode, so batch norm uses statistics of the batch
by default; mode="eval" is the alternative. One backward serves snip, plain, grad-norm and fisher.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vintk_kit.errors import InputError
from vintk_kit.proxies.base import ALL_NEEDS, DATA_GRADIENTS, GRADIENTS, MODES, Proxy
from vintk_kit.proxies.candidate import Candidate, logits, weight_layers


@dataclass(frozen=True)
class LossPass:
    """Weights, their cross-entropy gradients, and Fisher sums, by path of the layer."""

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    fisher_rows: dict[str, float]
    fisher_channels: dict[str, float]


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean cross-entropy; labels beyond the network's classes are an `InputError`."""
    out = logits(network, images)
    if int(labels.max()) >= out.shape[1] or int(labels.min()) < 0:
        raise InputError(f"labels: got {int(labels.max())}; allowed: 0 to {out.shape[1] - 1}, the network's classes")
    if out.ndim > 2:
        out = out.flatten(2).mean(2)
    return F.cross_entropy(out, labels)


def weight_gradients(network: nn.Module, value: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns path -> (weight, gradient of `value`); a layer that is not used has gradient 0."""
    layers = weight_layers(network)
    found = torch.autograd.grad(value, [layer.weight for _, layer in layers], allow_unused=True)
    return {
        path: (layer.weight.detach(), torch.zeros_like(layer.weight) if gradient is None else gradient)
        for (path, layer), gradient in zip(layers, found, strict=True)
    }


def loss_pass(candidate: Candidate, mode: str) -> LossPass:
    """One forward and backward of the cross-entropy, shared by all proxies that need it."""
    return candidate.cached(("loss", mode), lambda: _loss_pass(candidate, mode))


def _loss_pass(candidate: Candidate, mode: str) -> LossPass:
    network = candidate.copy(mode)
    rows: dict[str, float] = {}
    channels: dict[str, float] = {}

    def watch(path: str, layer: nn.Module) -> None:
        def store(out: Tensor, gradient: Tensor) -> None:
            product = out * gradient
            size = layer.weight[0].numel()
            if product.ndim == 3:
                by_row, by_channel = product.sum(2), product.sum(1)
            else:
                by_row = by_channel = product.flatten(2).sum(2) if product.ndim == 4 else product
            rows[path] = rows.get(path, 0.0) + size * float(by_row.square().mean(0).sum()) / 2
            channels[path] = channels.get(path, 0.0) + size * float(by_channel.square().mean(0).sum()) / 2

        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            if output.requires_grad:
                kept = output.detach()
                output.register_hook(lambda gradient: store(kept, gradient))

        layer.register_forward_hook(hook)

    for path, layer in weight_layers(network):
        watch(path, layer)
    with torch.enable_grad():
        found = weight_gradients(network, cross_entropy(network, candidate.images, candidate.labels))
    candidate.spend(1.0)
    weights = {path: weight for path, (weight, _) in found.items()}
    return LossPass(weights, {path: gradient for path, (_, gradient) in found.items()}, rows, channels)


def snip(candidate: Candidate, mode: str = "train") -> float:
    """Sum of |W dL/dW|, L the mean cross-entropy (Lee et al., ICLR 2019)."""
    found = loss_pass(candidate, mode)
    return sum(float((found.weights[path] * g).abs().double().sum()) for path, g in found.gradients.items())


def plain(candidate: Candidate, mode: str = "train") -> float:
    """Sum of W dL/dW, signed (zero-cost-nas)."""
    found = loss_pass(candidate, mode)
    return sum(float((found.weights[path] * g).double().sum()) for path, g in found.gradients.items())


def grad_norm(candidate: Candidate, mode: str = "train", norm: str = "layers") -> float:
    """Norm of dL/dW: "layers" adds the norms of the layers (zero-cost-nas); "global" is the norm of all together."""
    squares = [float(g.double().square().sum()) for g in loss_pass(candidate, mode).gradients.values()]
    return sum(squares) ** 0.5 if norm == "global" else sum(square**0.5 for square in squares)


def fisher(candidate: Candidate, mode: str = "train", tokens: str = "released") -> float:
    """Sum over channels of mean_n (sum over positions of z dL/dz)² / 2, z the output of a layer, times its fan-in.

    zero-cost-nas repeats the value of a channel for each of its weights, hence the fan-in. On outputs (N, T, D) its
    code adds over channels and keeps tokens apart; tokens="channels" adds over tokens instead, as it does over pixels.
    The released code is in train mode always, mode="eval" is an addition.
    """
    found = loss_pass(candidate, mode)
    return sum((found.fisher_rows if tokens == "released" else found.fisher_channels).values())


def grasp(candidate: Candidate, mode: str = "train") -> float:
    """-sum of W (H g), g = dL/dW and H its Hessian over the same weights (Wang et al., ICLR 2020).

    As in zero-cost-nas, with one batch and temperature 1. The product is a gradient of a gradient, which is right
    through layer norm, with unfused attention. Cost about 3.
    """
    network = candidate.copy(mode)
    layers = [layer for _, layer in weight_layers(network)]
    with torch.enable_grad():
        loss = cross_entropy(network, candidate.images, candidate.labels)
        every = torch.autograd.grad(loss, [layer.weight for layer in layers], create_graph=True, allow_unused=True)
        used = [(layer.weight, g) for layer, g in zip(layers, every, strict=True) if g is not None]
        product = sum((g * g.detach()).sum() for _, g in used)
        seconds = torch.autograd.grad(product, [weight for weight, _ in used], allow_unused=True)
    candidate.spend(3.0)
    pairs = [(w, h) for (w, _), h in zip(used, seconds, strict=True) if h is not None]
    return -sum(float((w.detach() * h).double().sum()) for w, h in pairs)


def positive_pass(candidate: Candidate, batch_norm: str = "bypass") -> dict[str, tuple[Tensor, Tensor]]:
    """SynFlow's pass: absolute values of all parameters and buffers, one all-ones image, R = sum of outputs.

    Args:
        candidate: Only the shape of its images is used.
        batch_norm: "bypass" leaves it out; "running" keeps it in eval mode, "batch" in train mode.

    Returns:
        Path -> (|W|, dR/dW), float64, so that deep networks do not overflow. Shared by synflow, dss, autoprox-a.
    """
    return candidate.cached(("positive", batch_norm), lambda: _positive_pass(candidate, batch_norm))


def _positive_pass(candidate: Candidate, batch_norm: str) -> dict[str, tuple[Tensor, Tensor]]:
    network = candidate.copy("train" if batch_norm == "batch" else "eval", torch.float64)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.abs_()
    if batch_norm == "bypass":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.forward = lambda x: x  # type: ignore[method-assign]
    with torch.enable_grad():
        ones = torch.ones_like(candidate.images[:1], dtype=torch.float64)
        found = weight_gradients(network, logits(network, ones).sum())
    candidate.spend(1 / len(candidate.images))
    return found


def synflow(candidate: Candidate, batch_norm: str = "bypass") -> float:
    """log of the sum of |W dR/dW| (Tanaka et al., NeurIPS 2020), see `positive_pass`; data-free.

    The logarithm keeps the order and avoids overflow. Batch norm is bypassed, as published, or kept in either mode.
    Layer norm is kept, as in all released ports to ViTs.
    """
    total = sum((weight * g).abs().sum() for weight, g in positive_pass(candidate, batch_norm).values())
    return float(torch.as_tensor(total).log())


def l2_norm(candidate: Candidate) -> float:
    """Sum over layers of ||W||, no pass at all (zero-cost-nas)."""
    return sum(float(layer.weight.detach().double().norm()) for _, layer in weight_layers(candidate.network))


def jacob_cov(candidate: Candidate, mode: str = "train") -> float:
    """-sum log(v + 1e-5) + 1/(v + 1e-5), v eigenvalues of the correlation of input gradients (Mellor et al., v1, 2020).

    The gradients are of the sum of logits; the value is set by the floor 1e-5 if the correlation is singular.
    """
    network = candidate.copy(mode)
    images = candidate.images.detach().clone().requires_grad_()
    with torch.enable_grad():
        (jacobian,) = torch.autograd.grad(logits(network, images).sum(), images)
    candidate.spend(1.0)
    values = torch.linalg.eigvalsh(torch.corrcoef(jacobian.flatten(1).double()))
    return -float(((values + 1e-5).log() + 1 / (values + 1e-5)).sum())


def gradsign(candidate: Candidate) -> float:
    """Sum over weights of |sum_i sign(dL_i/dw)|, one loss per sample, eval mode (GradSign, ICLR 2022). Cost 2."""
    network = candidate.copy()
    signs: dict[str, Tensor] = {}
    for image, label in zip(candidate.images, candidate.labels, strict=True):
        with torch.enable_grad():
            found = weight_gradients(network, cross_entropy(network, image[None], label[None]))
        for path, (_, gradient) in found.items():
            signs[path] = signs.get(path, 0) + gradient.sign()
    candidate.spend(2.0)
    return sum(float(total.abs().sum()) for total in signs.values())


_MODE = {"mode": "train"}
_MODES = {"mode": MODES}
_NORMS = {"batch_norm": ("bypass", "running", "batch")}
PROXIES = (
    Proxy("snip", "saliency", snip, 1, ALL_NEEDS, 1.0, "Lee et al. 2019; zero-cost-nas", _MODE, _MODES),
    Proxy("grasp", "saliency", grasp, 1, ALL_NEEDS, 3.0, "Wang et al. 2020; zero-cost-nas", _MODE, _MODES),
    Proxy(
        "synflow", "saliency", synflow, 1, GRADIENTS, 0.1, "Tanaka et al. 2020, log", {"batch_norm": "bypass"}, _NORMS
    ),
    Proxy(
        "fisher",
        "saliency",
        fisher,
        1,
        ALL_NEEDS,
        1.0,
        "Turner et al. 2020; zero-cost-nas",
        {**_MODE, "tokens": "released"},
        {**_MODES, "tokens": ("released", "channels")},
    ),
    Proxy(
        "grad-norm",
        "saliency",
        grad_norm,
        1,
        ALL_NEEDS,
        1.0,
        "zero-cost-nas",
        {**_MODE, "norm": "layers"},
        {**_MODES, "norm": ("layers", "global")},
    ),
    Proxy("plain", "saliency", plain, 1, ALL_NEEDS, 1.0, "zero-cost-nas", _MODE, _MODES),
    Proxy("l2-norm", "saliency", l2_norm, 1, frozenset(), 0.0, "zero-cost-nas"),
    Proxy("jacob-cov", "saliency", jacob_cov, 1, DATA_GRADIENTS, 1.0, "Mellor et al. 2020 v1", _MODE, _MODES),
    Proxy("gradsign", "saliency", gradsign, 1, ALL_NEEDS, 2.0, "Zhang and Jia 2022; MeCo repository"),
)
