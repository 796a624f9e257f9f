"""One architecture drawn to scale: a box per layer, as high as the layer is wide."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import plotly.graph_objects as go
from torch import nn

from vintk_kit.plots.template import PALETTE, layout
from vintk_kit.spaces import Architecture, SearchSpace
from vintk_kit.spaces.weights import named

COLOURS = {
    "embedding": PALETTE[4],
    "attention": PALETTE[0],
    "mlp": PALETTE[1],
    "convolution": PALETTE[2],
    "pooling": PALETTE[3],
    "head": PALETTE[8],
}
_BLOCK = re.compile(r"^(?P<block>(?:.*\.)?(?:blocks|cells)\.\d+)\.")


@dataclass
class _Box:
    label: str
    kind: str
    width: int
    params: int


def draw_architecture(space: SearchSpace, arch: Architecture) -> go.Figure:
    """Draws the layers of an architecture from input to output.

    A box is as wide as its share of the parameters (at least a sliver) and as high as the width of its layer: q, k, v
    for attention, the hidden layer for an MLP, channels for a convolution. Hover shows the numbers.

    Args:
        space: The search space.
        arch: One of its architectures, also one outside the table.

    Returns:
        The figure; one trace per kind of layer, so that the legend can hide kinds.
    """
    network = space.skeleton(*space.resolve(arch, 3, None, None))
    boxes = _boxes(network)
    total = sum(box.params for box in boxes)
    figure, left, seen = go.Figure(), 0.0, set()
    for box in boxes:
        wide = max(box.params / total, 0.004)
        right, half = left + wide, box.width / 2
        text = f"{box.label}<br>{box.kind}: {box.width} wide<br>{box.params:,} parameters"
        figure.add_scatter(
            x=[left, right, right, left, left], y=[-half, -half, half, half, -half], mode="lines", fill="toself",
            fillcolor=COLOURS[box.kind], line={"color": "rgba(128,128,128,0.6)", "width": 1}, opacity=0.85,
            name=box.kind, legendgroup=box.kind, showlegend=box.kind not in seen, text=text, hoverinfo="text",
        )  # fmt: skip
        seen.add(box.kind)
        left = right + 0.003
    layout(figure, title=f"{arch.key}: {space.params(arch):,} parameters", x="share of the parameters", y="layer width")
    figure.update_xaxes(showticklabels=False, showgrid=False)
    return figure.update_yaxes(zeroline=False, **_width_labels(max(box.width for box in boxes)))


def _width_labels(widest: int) -> dict[str, list]:
    """Labels of an axis on which boxes are centred: the edge of a box, above as below, reads as its whole width."""
    step = 2 ** max(0, round(math.log2(widest / 2)) - 1)
    widths = list(range(0, widest + 1, step))
    tops = [width / 2 for width in widths]
    return {"tickvals": [-top for top in tops[:0:-1]] + tops, "ticktext": list(map(str, widths[:0:-1] + widths))}


def _boxes(network: nn.Module) -> list[_Box]:
    """Boxes in the order of the forward pass, from the paths of the parameters."""
    boxes: dict[tuple[str, str], _Box] = {}
    for path, parameter in named(network):
        label, kind = _place(path)
        box = boxes.setdefault((label, kind), _Box(label, kind, 1, 0))
        box.params += parameter.numel()
        box.width = max(box.width, _layer_width(path, tuple(parameter.shape)))
    order = {"embedding": 0, "head": 2}
    return sorted(boxes.values(), key=lambda box: order.get(box.kind, 1))


def _place(path: str) -> tuple[str, str]:
    block = _BLOCK.match(path)
    if path.split(".")[0] in ("patch_embed", "cls_token", "pos_embed", "stem"):
        return "input", "embedding"
    if "pool" in path or "merge" in path or "shortcut" in path:
        return path.rsplit(".", 2)[0], "pooling"
    if block is None:
        return "output", "head"
    rest = path[block.end() :]
    if "attn" in rest or rest.startswith("norm1"):
        return block["block"], "attention"
    return block["block"], "mlp" if rest.startswith(("mlp", "norm2")) else "convolution"


def _layer_width(path: str, shape: tuple[int, ...]) -> int:
    if "attn" in path:
        return shape[0] // 3 if path.endswith("qkv.weight") else 1
    if len(shape) < 2 or ".mlp.fc2" in path:
        return 1
    return shape[-1] if path.endswith(("cls_token", "pos_embed")) and len(shape) == 3 else shape[0]
