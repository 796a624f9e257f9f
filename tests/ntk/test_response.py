"""The frequency response: one pass over all waves equals a loop of autograd calls, in both forms and in any blocks."""

import math

import numpy as np
import pytest
import torch

from vintk_kit.errors import InputError, NumericalError
from vintk_kit.ntk import frequency_response
from vintk_kit.ntk.reference import loop_kernel
from vintk_kit.ntk.response import Moves, waves
from vintk_kit.ntk.terms import Outer

FREQUENCIES = [0, 1, 3, 8]


def slow(network, images, amplitude: float, seed: int, params: str) -> list[float]:
    """Response of the whole kernel, one frequency and one backward pass per image at a time."""
    rng = np.random.default_rng([seed, 17])
    angles, phases = rng.uniform(0, math.pi, len(images)), rng.uniform(0, 2 * math.pi, len(images))
    answers = []
    for frequency in FREQUENCIES:
        shaken = images + amplitude * waves(images, frequency, angles, phases)
        kernel, n = loop_kernel(network, torch.cat([images, shaken]), params=params), len(images)
        corner = kernel.diagonal()
        moved = (corner[n:] - 2 * kernel.diagonal(n) + corner[:n]).mean()
        answers.append(float(moved / corner[:n].mean()))
    return answers


@pytest.mark.parametrize("params", ["weights", "all"])
@pytest.mark.parametrize("name", ["V1", "C1", "N1a"])
def test_one_pass_equals_a_loop_of_autograd_calls(nets, name, params):
    network, images = nets.build(name, 11, torch.float64), nets.inputs(name, 11, torch.float64, 3)[0]
    before = [parameter.requires_grad for parameter in network.parameters()]
    want = slow(network, images, 0.1, 5, params)
    for block_size in (1, 9, 64):
        found = frequency_response(
            network, images, FREQUENCIES, params=params, seed=5, groups=(), block_size=block_size
        )
        assert found["response"].tolist() == pytest.approx(want, rel=1e-9)
        assert found["frequency"].tolist() == FREQUENCIES
    assert [parameter.requires_grad for parameter in network.parameters()] == before


def test_groups_add_up_to_the_whole(nets):
    network, images = nets.build("V1", 11, torch.float64), nets.inputs("V1", 11, torch.float64, 3)[0]
    wide = frequency_response(network, images, [2, 5], relative=False).pivot(
        index="frequency", columns="group", values="response"
    )
    assert wide.drop(columns="all").sum(axis=1).tolist() == pytest.approx(wide["all"].tolist())


@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_both_forms_of_the_products_agree(tokens):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(9, *shape, generator=generator) for shape in ((7, tokens), (tokens, 11)))
    moves, gradients = Moves(3), torch.bmm(left, right).double().flatten(1).view(3, 3, -1)
    want = torch.cat([gradients[:1], gradients[1:] - gradients[:1]]).square().sum(2)
    for found in (moves._ghost(left, right), moves._tiles(left, right)):
        torch.testing.assert_close(found, want, rtol=1e-5, atol=0)
    moves("w", Outer(left, right))
    moves("w", Outer(left, right))
    torch.testing.assert_close(moves.parts["w"], 2 * want, rtol=1e-5, atol=0)


def test_wrong_input_is_refused(nets):
    network, images = nets.build("V1", 11, torch.float64), nets.inputs("V1", 11, torch.float64, 3)[0]
    for options, error, words in (
        ({"frequencies": [1, -1]}, InputError, "frequencies: got -1"),
        ({"amplitude": 0}, InputError, "amplitude: got 0"),
        ({"block_size": 0}, InputError, "block_size: got 0"),
        ({"images": images[0]}, InputError, "images: got"),
        ({"images": images * math.nan}, NumericalError, "NaN"),
    ):
        with pytest.raises(error, match=words):
            frequency_response(**({"network": network, "images": images, "frequencies": [1]} | options))
