"""IoU by hand and against torchmetrics; windows, scales and mirrors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import multiclass_jaccard_index

from vintk_kit.errors import InputError
from vintk_kit.segmentation.scores import (
    Inference,
    class_iou,
    confusion_matrix,
    mean_iou,
    pixel_accuracy,
    slide,
    summarise,
    window_starts,
)  # fmt: skip


class Pointwise(nn.Module):
    """Logits of a pixel depend on this pixel only, so that windows and mirrors cannot change them."""

    fixed_size = None

    def forward(self, x):
        return torch.cat([x, -x.mean(1, keepdim=True)], dim=1)


def test_iou_by_hand():
    truth = torch.tensor([[[0, 0, 1, 1, 255, 2]]])
    predicted = torch.tensor([[[0, 1, 1, 1, 0, 0]]])
    confusion = confusion_matrix(predicted, truth, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    iou = class_iou(confusion)
    assert iou[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert math.isnan(iou[3])  # occurs nowhere: does not count
    assert mean_iou(confusion) == pytest.approx(1 / 3)
    assert pixel_accuracy(confusion) == pytest.approx(3 / 5)
    table = summarise(confusion, "abcd", 0.5, 1).table
    assert table["pixels"].tolist() == [2, 2, 1, 0]
    assert table["accuracy"][1] == 1


def test_iou_equals_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (3, 16, 16), generator=generator)
    predicted = torch.where(torch.rand(truth.shape, generator=generator) < 0.5, truth, truth.flip(-1))
    truth[0, :4] = 255
    expected = multiclass_jaccard_index(predicted, truth, 5, average=None, ignore_index=255)
    torch.testing.assert_close(class_iou(confusion_matrix(predicted, truth, 5)).float(), expected)


def test_windows_cover_and_average():
    assert window_starts(100, 32, 20) == [0, 20, 40, 60, 68]
    assert window_starts(32, 32, 20) == [0]
    x = torch.randn(2, 3, 50, 70)
    torch.testing.assert_close(slide(Pointwise(), x, (32, 48), (20, 30)), Pointwise()(x))


def test_scales_and_mirrors_give_probabilities():
    x = torch.randn(1, 3, 64, 64)
    plain = Inference()(Pointwise(), x)
    torch.testing.assert_close(plain.exp().sum(1), torch.ones(1, 64, 64))
    torch.testing.assert_close(Inference(flip=True, window=(32, 32))(Pointwise(), x), plain)
    several = Inference(scales=(0.5, 1.0, 1.5), flip=True)(Pointwise(), x)
    torch.testing.assert_close(several.exp().sum(1), torch.ones(1, 64, 64))
    mirrored = Inference(scales=(0.5, 1.0), flip=True)(Pointwise(), x.flip(-1)).flip(-1)
    torch.testing.assert_close(Inference(scales=(0.5, 1.0), flip=True)(Pointwise(), x), mirrored)


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match=r"got 40 x 64 pixels; allowed: at least the window, 64 x 64"):
        Inference(window=(64, 64))(Pointwise(), torch.randn(1, 3, 64, 40))
    with pytest.raises(InputError, match="scales"):
        Inference(scales=())
    with pytest.raises(InputError, match="stride"):
        slide(Pointwise(), torch.randn(1, 3, 64, 64), (32, 32), (40, 40))
