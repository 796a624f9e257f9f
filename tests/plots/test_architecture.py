"""The drawing of an architecture is to scale."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from vintk_kit.plots.architecture import draw_architecture
from vintk_kit.spaces import SPACES, get_space

NAMES = [name for name in SPACES if name not in ("hybrid-hr", "timm")]


@pytest.mark.parametrize("name", NAMES)
def test_boxes_cover_every_parameter(name):
    space = get_space(name)
    arch = space.sample(np.random.default_rng(0))
    figure = draw_architecture(space, arch)
    counted = sum(int(t.text.split("<br>")[2].split()[0].replace(",", "")) for t in figure.data)
    assert counted == space.params(arch)


def test_heights_are_layer_widths():
    space = get_space("microvit-32")
    arch = space.architecture(patch_size=4, embed_dim=64, depth=2, num_heads=[2, 8], mlp_ratio=[1, 4])
    figure = draw_architecture(space, arch)
    boxes = {t.text.split("<br>")[1]: max(t.y) - min(t.y) for t in figure.data}
    assert {"attention: 32 wide", "attention: 128 wide", "mlp: 64 wide", "mlp: 256 wide"} <= set(boxes)
    assert boxes["mlp: 256 wide"] == 256
    labels = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert labels == {
        -128: "256",
        -96: "192",
        -64: "128",
        -32: "64",
        0: "0",
        32: "64",
        64: "128",
        96: "192",
        128: "256",
    }


def test_the_command_lists_spaces(monkeypatch):
    import typer

    from vintk_kit.cli import spaces

    app = typer.Typer()
    app.callback()(lambda: None)
    spaces.register(app)
    monkeypatch.delitem(SPACES, "hybrid-hr")
    listed = CliRunner().invoke(app, ["spaces"], catch_exceptions=False).stdout
    assert all(name in listed for name in SPACES)
    shown = CliRunner().invoke(app, ["spaces", "autoformer-tiny"], catch_exceptions=False).stdout
    assert "outside the table" in shown
    assert "mlp_ratio" in shown
