"""Initial weights: shared ones sliced as views, independent ones drawn at once, and counting on the meta device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vintk_kit.errors import InputError

Initial = Callable[[str, tuple[int, ...]], tuple[str, float]]


@dataclass(eq=False)
class Supernet:
    """The initial weights of the largest network of a space; architectures take leading slices.

    Attributes:
        space: Name of the space.
        seed: Seed of the draw.
        sizes: Input channels, number of classes, image size.
        state: Largest tensor of each parameter name.
    """

    space: str
    seed: int
    sizes: tuple[int, int, int]
    state: dict[str, Tensor] = field(repr=False)

    @classmethod
    def draw(
        cls,
        space: str,
        seed: int,
        sizes: tuple[int, int, int],
        shapes: dict[str, tuple[int, ...]],
        initial: Initial,
    ) -> Supernet:
        """Draws every tensor from one generator seeded by `seed`."""
        return cls(space, seed, sizes, _draw(shapes, initial, [seed]))

    def slice(self, name: str, shape: Sequence[int]) -> Tensor:
        """The leading block of a tensor, as a view.

        Raises:
            InputError: If the supernet has no such tensor or a smaller one.
        """
        full = self.state.get(name)
        if full is None:
            raise InputError(
                f"supernet of {self.space}: got no tensor {name!r}; the architecture lies outside the space"
            )
        if tuple(full.shape) == tuple(shape):
            return full
        if full.ndim != len(shape) or any(want > have for want, have in zip(shape, full.shape, strict=True)):
            raise InputError(
                f"supernet of {self.space}: {name} has shape {tuple(full.shape)}, the network needs {tuple(shape)};"
                " allowed: architectures no larger than the space, or independent weights (weights=None)"
            )
        for dim, want in enumerate(shape):
            full = full.narrow(dim, 0, want)
        return full

    def check(self, space: str, in_channels: int, num_classes: int, image_size: int) -> None:
        """Raises `InputError` unless the supernet was drawn for this space and these sizes."""
        if space != self.space:
            raise InputError(f"supernet: got one of {self.space!r} for a network of {space!r}")
        wanted = (in_channels, num_classes, image_size)
        for what, have, want in zip(("in_channels", "num_classes", "image_size"), self.sizes, wanted, strict=True):
            if have != want:
                raise InputError(f"supernet: got {what}={have}; the network needs {what}={want}: draw a new supernet")


def _draw(shapes: dict[str, tuple[int, ...]], initial: Initial, seed: Sequence[int]) -> dict[str, Tensor]:
    # One flat standard normal draw serves all tensors: a call per tensor would cost more than the numbers.
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0]))
    plans = {name: (shape, *initial(name.partition("@")[0], shape)) for name, shape in shapes.items()}
    random = sum(int(np.prod(shape)) for shape, kind, _ in plans.values() if kind != "constant")
    flat, start, state = torch.empty(random).normal_(generator=generator), 0, {}
    for name, (shape, kind, amount) in plans.items():
        if kind == "constant":
            state[name] = torch.full(shape, amount)
            continue
        stop = start + int(np.prod(shape))
        block = flat[start:stop].view(shape)
        # erf maps the normal draw to a uniform one on (-1, 1).
        state[name] = block.mul_(amount) if kind == "normal" else block.mul_(0.5**0.5).erf_().mul_(amount)
        start = stop
    return state


def draw_weights(network: nn.Module, initial: Initial, seed: Sequence[int]) -> nn.Module:
    """Gives a network on the meta device its own random weights; buffers are computed by `materialise`."""
    shapes = {name: tuple(parameter.shape) for name, parameter in named(network)}
    state = _draw(shapes, initial, seed)
    return _bind(network, lambda name, shape: state[name])


def bind_views(network: nn.Module, weights: Supernet, rename: Callable[[str], str]) -> nn.Module:
    """Makes the parameters of a network on the meta device views of a supernet."""
    return _bind(network, lambda name, shape: weights.slice(rename(name), shape))


def _bind(network: nn.Module, find: Callable[[str, tuple[int, ...]], Tensor]) -> nn.Module:
    _bind_below("", network, find)
    return network


def _bind_below(prefix: str, module: nn.Module, find: Callable[[str, tuple[int, ...]], Tensor]) -> None:
    # Its own recursion: `named_modules` costs as much as all the rest.
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(find(prefix + name, parameter.shape))
    for name, buffer in module._buffers.items():
        if buffer is not None and buffer.is_meta:
            # The only buffers on the meta device are batch-norm statistics.
            module._buffers[name] = _constant(float(name == "running_var"), buffer.shape, buffer.dtype).clone()
    for name, child in module._modules.items():
        if child is not None:
            _bind_below(f"{prefix}{name}.", child, find)


@lru_cache(maxsize=256)
def _constant(value: float, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    # On the CPU, like the weights, whatever torch's default device is when it is first asked for.
    return torch.full(shape, value, dtype=dtype, device="cpu")


def named(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Named parameters of a skeleton; copies of one cached part share placeholders, which torch would list once."""
    return network.named_parameters(remove_duplicate=False)


def clone_skeleton(module: nn.Module) -> nn.Module:
    """Copies the module tree but none of its tensors: far cheaper than constructing the layers again."""
    copy = module.__class__.__new__(module.__class__)
    state = copy.__dict__
    for name, value in module.__dict__.items():
        kind = value.__class__
        if kind is dict or kind is OrderedDict:  # most are empty, and an empty one is made faster than copied
            value = value.copy() if value else kind()
        state[name] = value
    children = state["_modules"]
    for name, child in children.items():
        if child is not None:
            children[name] = clone_skeleton(child)
    return copy


@lru_cache(maxsize=4096)
def _template(make: Callable[..., nn.Module], arguments: tuple[object, ...]) -> nn.Module:
    with torch.device("meta"):
        return make(*arguments).eval()


def from_cache(make: Callable[..., nn.Module], *arguments: object) -> nn.Module:
    """A skeleton of `make(*arguments)` on the meta device, copied from a cached one."""
    return clone_skeleton(_template(make, arguments))


def count_macs(network: nn.Module, in_channels: int, image_size: int) -> int:
    """Multiply-accumulates of one image, counted by torch on the meta device."""
    image = torch.empty(1, in_channels, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(image)
    return counter.get_total_flops() // 2
