"""Where float32 products are computed, and how a matrix of gradients is divided: never what comes out."""

import threading

import pytest
import torch
from torch import nn

from vintk_kit.ntk import gram, onednn, sketch, tangent_kernel
from vintk_kit.ntk.terms import Outer

SETTING = torch.backends.mkldnn.matmul


@pytest.fixture
def exact(monkeypatch):
    """A processor on which oneDNN keeps float32; the setting is the same on any."""
    monkeypatch.setattr(onednn, "is_useful", lambda: True)


def test_the_setting_is_put_back_after_the_last_of_several_users(exact):
    before = SETTING.fp32_precision
    inside, leave = threading.Event(), threading.Event()

    def other():
        with onednn.float32_products():
            inside.set()
            leave.wait(10)

    with onednn.float32_products():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        with onednn.float32_products():
            assert SETTING.fp32_precision == onednn.ALLOW
    assert onednn.in_use()
    assert SETTING.fp32_precision == onednn.ALLOW  # the thread is still at work
    leave.set()
    thread.join()
    assert not onednn.in_use()
    assert SETTING.fp32_precision == before


def test_a_kernel_leaves_the_setting_as_it_was_even_when_it_fails(exact):
    before = SETTING.fp32_precision
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(4, 3, 2, 2)
    tangent_kernel(network, images)
    assert SETTING.fp32_precision == before
    with pytest.raises(RuntimeError):
        tangent_kernel(network, torch.randn(4, 5))
    assert SETTING.fp32_precision == before
    assert not onednn.in_use()


@pytest.mark.parametrize("shape", [(1, 48, 65, 80), (8, 48, 65, 80), (2, 32, 5000, 32)])
def test_products_inside_are_as_exact_as_float32(shape):
    """On every machine: where oneDNN would round to bfloat16 (relative error 1e-3), it is not used."""
    samples, rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(samples, rows, inner, generator=generator)
    right = torch.randn(samples, inner, columns, generator=generator)
    exact = left.double() @ right.double()
    with onednn.float32_products():
        found = left @ right
    assert float((found - exact).abs().max()) < 1e-6 * inner**0.5 * float(exact.abs().max())


def test_onednn_is_left_alone_where_it_would_round(monkeypatch):
    def probe(capabilities, keeps):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        monkeypatch.setattr(onednn, "_keeps_float32", lambda: keeps)
        onednn.is_useful.cache_clear()
        try:
            return onednn.is_useful()
        finally:
            onednn.is_useful.cache_clear()

    before = SETTING.fp32_precision
    plain = {"avx512_bw": True, "avx512_vl": True, "avx512_dq": True, "amx_bf16": False}
    assert not probe(plain | {"amx_bf16": True}, True)
    assert not probe(plain | {"avx512_vl": False}, True)  # torch would not ask it
    assert not probe(plain, False)
    assert probe(plain, True) == torch.backends.mkldnn.is_available()
    assert SETTING.fp32_precision == before


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize(("outputs", "inputs"), [(7, 5), (130, 70), (70, 130), (201, 64), (129, 97)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("n", [6, 7])
def test_tiles_give_the_same_products_whatever_their_size(monkeypatch, dense, cores, outputs, inputs, transposed, n):
    """Σ_oi g_n[o, i] g_m[o, i], for tiles that do not fit evenly, on any number of cores, in any order of memory, with
    copies for oneDNN and without.

    Seven samples are enough here to leave out the lower left of their products, six are not.
    """
    monkeypatch.setattr(gram, "ENOUGH", 3.5)
    monkeypatch.setattr(onednn, "in_use", lambda: dense)
    monkeypatch.setattr(gram, "PER_SAMPLE", 100)
    monkeypatch.setattr(gram, "BUFFER", 5000)
    monkeypatch.setattr(gram, "TILE_WIDTH", 48)
    monkeypatch.setattr(gram, "NARROW", 16)
    monkeypatch.setattr(gram, "threads", lambda like: cores)
    tokens = 9
    generator = torch.Generator().manual_seed(outputs)
    left = torch.randn(n, outputs, tokens, generator=generator)
    right = torch.randn(n, tokens, inputs, generator=generator)
    if transposed:
        left = left.transpose(1, 2).contiguous().transpose(1, 2)
        right = right.transpose(1, 2).contiguous().transpose(1, 2)
    gradients = (left.double() @ right.double()).flatten(1)
    found = gram.Gram(n, None)._explicit(left, right).double()
    torch.testing.assert_close(found, gradients @ gradients.T, rtol=1e-4, atol=1e-2)
    double = gram.Gram(n, torch.float64)._explicit(left.double(), right.double())
    torch.testing.assert_close(double, gradients @ gradients.T, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("n", "tokens"), [(1, 3), (2, 5), (7, 4), (32, 3)])
def test_the_ghost_form_equals_the_explicit_one(n, tokens):
    """Rows of blocks from the diagonal on, mirrored: also where they do not divide N evenly."""
    left, right = torch.randn(n, 20, tokens).double(), torch.randn(n, tokens, 30).double()
    both = gram.Gram(n, torch.float64)
    torch.testing.assert_close(both._ghost(left, right), both._explicit(left, right), rtol=1e-12, atol=1e-9)


def test_memory_for_tiles_is_used_again(monkeypatch):
    monkeypatch.setattr(gram, "threads", lambda like: 2)
    one, term = gram.Gram(8, None), Outer(torch.randn(8, 200, 9), torch.randn(8, 9, 180))
    one("first", term)
    places = {key: held.data_ptr() for key, held in one._memory.items()}
    one("second", term)
    assert {key: held.data_ptr() for key, held in one._memory.items()} == places
    torch.testing.assert_close(one.parts["first"], one.parts["second"])


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_layers_of_any_size_share_one_memory(monkeypatch, dtype):
    """Blocks that are kept from before are not used once a larger layer has moved their memory."""
    monkeypatch.setattr(gram, "PER_SAMPLE", 1000)
    monkeypatch.setattr(gram, "BUFFER", 8000)
    generator = torch.Generator().manual_seed(0)
    several = gram.Gram(8, dtype)
    for outputs, inputs in [(100, 96), (90, 80), (400, 200), (100, 96), (90, 80)]:
        left, right = (torch.randn(8, *size, generator=generator) for size in ((outputs, 9), (9, inputs)))
        torch.testing.assert_close(several._explicit(left, right), gram.Gram(8, dtype)._explicit(left, right))


@pytest.mark.parametrize(("outputs", "inputs", "rows"), [(400, 100, 64), (100, 400, 16), (90, 100, 64), (8, 900, 8)])
def test_a_sketch_has_fewer_rows_where_inputs_are_more_and_is_unbiased(outputs, inputs, rows):
    assert sketch.sketch_rows(64, outputs, inputs) == rows
    generator = torch.Generator().manual_seed(0)
    term = Outer(torch.randn(5, outputs, 30, generator=generator), torch.randn(5, 30, inputs, generator=generator))
    exact = gram.Gram(5, None)._outer(term)
    deviations = []
    for seed in range(40):
        mixed = sketch.sketched(term, 64, "weight", seed)
        assert mixed.right is term.right  # inputs stay as they are
        deviations.append((gram.Gram(5, None)._outer(mixed) - exact) / exact.diagonal().mean())
    several = torch.stack(deviations)
    assert float(several.abs().max()) < 3 / rows**0.5
    assert float(several.mean(0).abs().max()) < 3 / (40 * rows) ** 0.5  # unbiased: the mean of many is close
