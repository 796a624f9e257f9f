"""Segmentation networks: a backbone of any space, a decoder, logits at the size of the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vintk_kit.errors import bad_value, missing_extra, one_of
from vintk_kit.segmentation.backbones import as_backbone
from vintk_kit.segmentation.network import COARSEST, STRIDES, HybridHRNet, LinearHead, resized
from vintk_kit.spaces import Architecture, SearchSpace, Supernet, get_space
from vintk_kit.spaces.weights import draw_weights

DECODER_WIDTH = 128
"""Width of the decoders that mix the levels."""


class FCNDecoder(nn.Module):
    """Resized levels side by side, then torchvision's FCN head: 3x3 convolution, batch norm, ReLU, 1x1 convolution."""

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        from torchvision.models.segmentation.fcn import FCNHead

        self.head = FCNHead(sum(channels), classes)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps -> logits (N, C, H / 4, W / 4)."""
        size = maps[0].shape[-2:]
        return self.head(torch.cat([resized(part, size) for part in maps], dim=1))


class SMPDecoder(nn.Module):
    """A decoder of segmentation_models_pytorch on our maps, then dropout and a 1x1 convolution to the classes."""

    def __init__(self, kind: str, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        try:
            from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
            from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
        except ImportError:
            raise missing_extra("segmentation-models-pytorch", "all") from None
        # The library counts maps from stride 1; strides 1 and 2 are not used by these decoders.
        padded = [3, 0, *channels]
        if kind == "upernet":
            self.decoder: nn.Module = UPerNetDecoder(padded, decoder_channels=DECODER_WIDTH)
        else:
            self.decoder = SegformerDecoder(padded, segmentation_channels=DECODER_WIDTH)
        self.drop = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(DECODER_WIDTH, classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps -> logits (N, C, H / 4, W / 4)."""
        n, _, height, width = maps[0].shape
        full = maps[0].new_zeros(1).expand(n, 3, 4 * height, 4 * width)
        half = maps[0].new_zeros(n, 0, 2 * height, 2 * width)
        return self.classify(self.drop(self.decoder([full, half, *maps])))


def _linear(channels: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    def initial(name: str, shape: tuple[int, ...]) -> tuple[str, float]:
        if len(shape) == 4:
            return ("uniform", shape[1] ** -0.5)
        return ("constant", 1.0 if "norms" in name and name.endswith("weight") else 0.0)

    with torch.device("meta"):
        head = LinearHead(channels, classes)
    return draw_weights(head, initial, [seed, 19])


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


DECODERS: dict[str, Callable[[tuple[int, ...], int, int], nn.Module]] = {
    "linear": _linear,
    "fcn": lambda channels, classes, seed: _seeded(lambda: FCNDecoder(channels, classes), seed),
    "segformer": lambda channels, classes, seed: _seeded(lambda: SMPDecoder("segformer", channels, classes), seed),
    "upernet": lambda channels, classes, seed: _seeded(lambda: SMPDecoder("upernet", channels, classes), seed),
}
"""Decoder name -> (channels of the four maps, classes, seed) -> module from maps to logits at stride 4."""


class Segmenter(nn.Module):
    """Backbone, decoder, resizing: (N, 3, H, W) -> logits (N, C, H, W).

    Images are filled up to multiples of 32 at the right and bottom; the logits of the filling are cut off.
    """

    def __init__(self, backbone: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.backbone, self.decoder = backbone, decoder

    @property
    def fixed_size(self) -> int | None:
        """Side of the only square images that fit, or None."""
        return self.backbone.fixed_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, C, H, W).

        Raises:
            InputError: If the backbone takes another size only.
        """
        height, width = x.shape[-2:]
        fixed = self.fixed_size
        if fixed is not None and (height, width) != (fixed, fixed):
            raise bad_value("image size", (height, width), f"{fixed} x {fixed}, or windows of that size")
        x = F.pad(x, (0, -width % COARSEST, 0, -height % COARSEST))
        logits = self.decoder(self.backbone(x))
        size = (logits.shape[-2] * STRIDES[0], logits.shape[-1] * STRIDES[0])
        return resized(logits, size)[..., :height, :width]


def build_segmenter(
    space: str | SearchSpace,
    arch: Architecture,
    *,
    num_classes: int,
    image_size: int,
    decoder: str = "linear",
    weights: Supernet | None = None,
    seed: int = 0,
) -> Segmenter:
    """Builds a segmentation network.

    Args:
        space: `hybrid-hr`, a ViT or PiT space, or `timm(names=...)`.
        arch: Architecture.
        num_classes: Classes C.
        image_size: Side of the crops, a multiple of 32; `hybrid-hr` then takes images of any size, ViTs only these.
        decoder: A name of `DECODERS`. `hybrid-hr` has its own linear decoder, which is part of its supernet.
        weights: Shared initial weights of the backbone.
        seed: Of independent weights, and of the decoder.

    Raises:
        InputError: For an unknown decoder or an unfit size.
        UnsupportedModuleError: If the network has no feature maps.
    """
    space = get_space(space)
    one_of("decoder", decoder, DECODERS)
    if image_size % COARSEST:
        raise bad_value("image_size", image_size, f"multiples of {COARSEST}")
    network = space.build(arch, num_classes=num_classes, image_size=image_size, weights=weights, seed=seed)
    own = network.head if isinstance(network, HybridHRNet) and decoder == "linear" else None
    backbone = _seeded(lambda: as_backbone(network, image_size), seed)
    head = own if own is not None else DECODERS[decoder](backbone.channels, num_classes, seed)
    return Segmenter(backbone, head).eval()
