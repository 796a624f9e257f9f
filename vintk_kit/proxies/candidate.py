"""One network to score, and everything that several proxies of it can share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vintk_kit.errors import InputError, NumericalError, bad_value, one_of
from vintk_kit.ntk.groups import layer_group
from vintk_kit.proxies.base import MODES

if TYPE_CHECKING:
    from vintk_kit.spaces import Architecture, SearchSpace


class Candidate:
    """A network on a batch; passes and kernels are computed at their first use and kept.

    Proxies never touch `network`: what needs train mode, other weights or gradients works on a copy.

    Args:
        network: The network; brought to eval mode in copies, itself left as it is.
        images: (N, c, H, W).
        labels: (N,) class indices, int64.
        space: The space of the architecture, for analytic sizes.
        architecture: The architecture.
        seed: Of all random numbers that proxies draw for this candidate.
        rebuild: Builds the same candidate for another number of input channels.

    Attributes:
        passes: Forward-backward units of one batch spent so far.
        counts: How often each kind of shared result was computed.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        space: SearchSpace | None = None,
        architecture: Architecture | None = None,
        seed: int = 0,
        rebuild: Callable[[int], nn.Module] | None = None,
    ) -> None:
        if len(images) != len(labels) or not len(images):
            raise bad_value("labels", f"{len(labels)} for {len(images)} images", "one per image, at least one")
        self.network, self.images, self.labels = network, images, labels
        self.space, self.architecture, self.seed, self.rebuild = space, architecture, seed, rebuild
        self.passes = 0.0
        self.counts: dict[str, int] = {}
        self._cache: dict[Hashable, Any] = {}

    def cached(self, key: tuple[Hashable, ...], compute: Callable[[], Any]) -> Any:
        """Returns the result kept under `key`, computed if needed; a failure is kept and raised again.

        Args:
            key: Its first item names the kind of result, as in `counts`.
            compute: Computes it.
        """
        if key not in self._cache:
            self.counts[key[0]] = self.counts.get(key[0], 0) + 1
            try:
                self._cache[key] = (compute(), None)
            except Exception as error:
                self._cache[key] = (None, error)
        value, error = self._cache[key]
        if error is not None:
            raise error
        return value

    def spend(self, units: float) -> None:
        """Counts forward-backward units of one batch; a forward alone is a third."""
        self.passes += units

    def copy(self, mode: str = "eval", dtype: torch.dtype | None = None) -> nn.Module:
        """Returns a private copy: unfused attention, nothing in place, all parameters with gradients.

        Args:
            mode: "eval", or "train": batch norms use batch statistics. Dropout stays off in both.
            dtype: Another precision than the network's.
        """
        return private_copy(self.network, mode, dtype)

    def noise(self, stream: int, *shape: int) -> Tensor:
        """Returns standard normal numbers that depend on the seed and `stream` only, like the images in kind."""
        generator = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + stream)
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.images)

    def kernel(self, features: Any = None, *, output: str | int = "sum", params: str = "weights", joint: bool = False):
        """Returns the `TangentKernel` of the batch, or of the mapped batch; one computation per setting.

        Args:
            features: None, or `FourierFeatures`. If they change the number of channels, the candidate is rebuilt.
            output: As in `tangent_kernel`.
            params: As in `tangent_kernel`; "matrices" (TF-TAS) are weights with two dimensions or more.
            joint: Kernel of the 2N images [x, features(x)] instead.
        """
        key = ("kernel", features, output, params, joint)
        return self.cached(key, lambda: self._kernel(features, output, params, joint))

    def _kernel(self, features: Any, output: str | int, params: str, joint: bool):
        from vintk_kit.ntk import tangent_kernel

        network, images = self.network, self.images
        if features is not None and features.kind != "identity":
            images = features(images)
            if images.shape[1] != self.images.shape[1]:
                if joint:
                    raise InputError(
                        f"combine: got 'joint' with {features.kind!r}, which turns {self.images.shape[1]} channels "
                        f"into {images.shape[1]}; allowed: replace, sum, rank"
                    )
                network = self._rebuilt(images.shape[1])
        if joint:
            images = torch.cat([self.images, images])
        if network.training:
            network = private_copy(network)
        chooser = params if params != "matrices" else _is_matrix
        kernel = tangent_kernel(network, images, output=output, params=chooser, seed=self.seed)
        self.spend(kernel.passes * len(images) / len(self.images))
        return kernel

    def _rebuilt(self, channels: int) -> nn.Module:
        if self.rebuild is None:
            raise InputError(f"features: need a network of {channels} channels; allowed: with a space, or other kinds")
        network = self.rebuild(channels).to(self.images.device)
        return network.to(next(self.network.parameters()).dtype)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and name.endswith("weight")


def private_copy(network: nn.Module, mode: str = "eval", dtype: torch.dtype | None = None) -> nn.Module:
    """Returns a deep copy that may be changed; see `Candidate.copy`."""
    one_of("mode", mode, MODES)
    twin = copy.deepcopy(network).eval()
    if dtype is not None:
        twin = twin.to(dtype)
    for module in twin.modules():
        for name in ("fused_attn", "fused"):
            if isinstance(getattr(module, name, None), bool):
                setattr(module, name, False)
        if getattr(module, "inplace", False) is True:
            module.inplace = False
        if mode == "train" and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    return twin


def weight_layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns (path, layer) of all Conv2d and Linear layers but relative-position tables, in order."""
    return [
        (path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and layer_group(path, module)[0] != "position"
    ]


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Returns the network's output as a tensor (N, C), or (N, C, H, W) for dense networks.

    Raises:
        NumericalError: The output holds NaN or infinity.
        InputError: The network returns something else.
    """
    result = network(images)
    result = result[0] if isinstance(result, list | tuple) else result
    if not isinstance(result, Tensor) or result.ndim < 2:
        raise InputError(f"network: got an output of type {type(result).__name__}; allowed: a tensor (N, C, ...)")
    if not torch.isfinite(result).all():
        raise NumericalError("the output of the network holds NaN or infinity")
    return result


def transformer_blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns (path, block) of all modules with children `attn` (or a window attention) and `norm2`."""
    return [(p, m) for p, m in network.named_modules() if hasattr(m, "norm2") and hasattr(m, "attn")]
