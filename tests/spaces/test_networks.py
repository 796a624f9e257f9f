"""Networks: formulas equal counts, shared weights are views, independent ones depend on seed and key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from vintk_kit.errors import InputError
from vintk_kit.spaces import SPACES, ViTSpace, get_space
from vintk_kit.spaces.vit import RelativePosition2d
from vintk_kit.spaces.weights import count_macs

NAMES = [name for name in SPACES if name not in ("hybrid-hr", "timm")]
SIZES = {"in_channels": 2, "num_classes": 5, "image_size": 32}


def small(name: str) -> tuple:
    """A space and one of its architectures that is cheap to build."""
    space = get_space(name)
    return space, space.sample(np.random.default_rng(5))


@pytest.mark.parametrize("name", NAMES)
def test_formulas_equal_the_built_network(name):
    space, arch = small(name)
    network = space.build(arch, **SIZES)
    assert sum(parameter.numel() for parameter in network.parameters()) == space.params(arch, **SIZES)
    assert space.macs(arch, **SIZES) == count_macs(space.skeleton(arch, 2, 5, 32), 2, 32)
    assert not any(module.training for module in network.modules())
    with torch.no_grad():
        logits = network(torch.randn(2, 2, 32, 32))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("autoformer-base", "deit-base", "deit-small")])
def test_shared_weights_are_views_of_one_draw(name):
    space, arch = small(name)
    shared = space.supernet(3, **SIZES)
    network = space.build(arch, weights=shared, **SIZES)
    stored = {tensor.untyped_storage().data_ptr() for tensor in shared.state.values()}
    for path, parameter in network.named_parameters():
        assert parameter.untyped_storage().data_ptr() in stored, path
        assert parameter.requires_grad
        expected = shared.slice(space.weight_name(arch, path), parameter.shape)
        assert parameter.data_ptr() == expected.data_ptr()
        assert parameter.stride() == expected.stride()
    for other in space.neighbours(arch)[:2]:
        space.build(other, weights=shared, **SIZES)
    again = space.supernet(3, **SIZES)
    assert all(torch.equal(tensor, again.state[key]) for key, tensor in shared.state.items())


def test_norm_gains_start_at_one_in_every_space():
    for name in ("as-vit", "nasbench201", "microvit-32"):
        space = get_space(name)
        state = space.supernet(0).state
        gains = [t for k, t in state.items() if t.ndim == 1 and k.partition("@")[0].endswith("weight")]
        assert gains
        assert all((gain == 1).all() for gain in gains)


def test_every_architecture_fits_the_supernet():
    rng = np.random.default_rng(6)
    for name in ("microvit-32", "pit-ti(grid='full')", "nasbench201", "as-vit"):
        space = get_space(name)
        shared = space.supernet(0, image_size=32)
        for _ in range(8):
            space.build(space.sample(rng), weights=shared, image_size=32)


def test_a_supernet_that_does_not_fit_is_refused():
    space, arch = small("microvit-32")
    shared = space.supernet(0)
    for change in ({"in_channels": 1}, {"num_classes": 7}, {"image_size": 64}):
        with pytest.raises(InputError, match=f"{next(iter(change))}=.*draw a new supernet"):
            space.build(arch, weights=shared, **change)
    other, big = small("autoformer-tiny")
    with pytest.raises(InputError, match="autoformer-tiny"):
        other.build(big, weights=shared, image_size=32)
    wide = space.architecture(patch_size=4, embed_dim=256, depth=1, num_heads=[2], mlp_ratio=[1])
    assert not space.contains(wide)
    with pytest.raises(InputError, match="independent weights"):
        space.build(wide, weights=shared)
    assert space.build(wide)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_independent_weights_depend_on_seed_and_architecture_only():
    space, arch = small("microvit-32")
    other = space.neighbours(arch)[0]
    first, again, reseeded = (space.build(arch, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], reseeded["blocks.0.attn.qkv.weight"])
    different = space.build(other, seed=1).state_dict()["blocks.0.norm1.weight"]
    assert (different == 1).all()
    weight = first["blocks.0.mlp.fc1.weight"]
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    bound = (3 * arch["patch_size"] ** 2) ** -0.5
    patch = first["patch_embed.proj.weight"]
    assert patch.abs().max() <= bound
    assert patch.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_networks_built_from_one_template_are_separate():
    space, arch = small("microvit-32")
    a, b = space.build(arch), space.build(arch)
    calls = []
    a.blocks[0].mlp.act.register_forward_hook(lambda *_: calls.append(1))
    b(torch.zeros(1, 3, 32, 32))
    assert not calls
    paths = [id(module) for network in (a, b) for module in network.modules()]
    assert len(set(paths)) == len(paths)


def test_equals_timm_after_reordering_the_qkv_rows():
    table = {"embed_dim": (32,), "depth": (2,), "num_heads": (2,), "mlp_ratio": (2.0,)}
    for pool in ("avg", "token"):
        space = ViTSpace("t", "test", table, patch_size=8, image_size=16, num_classes=3, pool=pool)
        ours = space.build(next(space.enumerate())).double()
        theirs = VisionTransformer(
            img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=3,
            global_pool=pool, fc_norm=False,
        ).double().eval()  # fmt: skip
        state = ours.state_dict()
        for key in [key for key in state if "qkv" in key]:
            rows = state[key]
            state[key] = torch.cat([rows[i::3] for i in range(3)])  # q_0, k_0, v_0, ... -> all q, all k, all v
        theirs.load_state_dict(state)
        x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours.use_fused_attention()(x), ours.use_fused_attention(False)(x))


@pytest.mark.parametrize(("grid", "clip"), [(3, 14), (4, 2)])
def test_relative_position_equals_the_table_lookup(grid, clip):
    torch.manual_seed(0)
    layer = RelativePosition2d(6, grid, clip).double()
    tokens = grid**2 + 1
    q = torch.randn(2, 3, tokens, 6, dtype=torch.float64)
    attention = torch.randn(2, 3, tokens, tokens, dtype=torch.float64).softmax(-1)
    index = torch.zeros(2, tokens, tokens, dtype=torch.long)
    for t in range(1, tokens):
        for s in range(1, tokens):
            (a, b), (c, d) = divmod(t - 1, grid), divmod(s - 1, grid)
            index[0, t, s] = min(max(c - a, -clip), clip) + clip + 1
            index[1, t, s] = min(max(d - b, -clip), clip) + clip + 1
    keys = layer.key_rows.weight[index[0]] + layer.key_cols.weight[index[1]]  # (T, T, head_dim)
    values = layer.value_rows.weight.T[index[0]] + layer.value_cols.weight.T[index[1]]
    torch.testing.assert_close(layer.keys(q), torch.einsum("nhtd,tsd->nhts", q, keys))
    torch.testing.assert_close(layer.values(attention), torch.einsum("nhts,tsd->nhtd", attention, values))


def test_shifted_windows_equal_an_obvious_loop():
    from vintk_kit.spaces.windows import WindowAttention

    torch.manual_seed(0)
    side, window, shift = 4, 2, 1
    layer = WindowAttention(6, 2, side, window, shift).double()
    x = torch.randn(1, side * side, 6, dtype=torch.float64)
    q, k, v = layer.qkv(x).view(1, 16, 2, 3, 3).permute(4, 0, 2, 1, 3).unbind(0)
    cell = lambda row, col: ((row - shift) % side // window, (col - shift) % side // window)  # noqa: E731
    wrapped = lambda i: i < shift  # noqa: E731  the first rows were rolled to the end
    mask = torch.full((16, 16), -100.0, dtype=torch.float64)
    for t in range(16):
        for s in range(16):
            (a, b), (c, d) = divmod(t, side), divmod(s, side)
            same = cell(a, b) == cell(c, d)
            mask[t, s] = 0 if same and (wrapped(a), wrapped(b)) == (wrapped(c), wrapped(d)) else -torch.inf
    attention = (q @ k.transpose(-2, -1) * layer.scale + mask).softmax(-1)
    expected = layer.proj((attention @ v).transpose(1, 2).reshape(1, 16, 6))
    torch.testing.assert_close(layer(x), expected)


def test_timm_models_are_a_space():
    space = get_space("timm(names=('vit_tiny_patch16_224', 'resnet18'), num_classes=4)")
    vit, resnet = space.enumerate()
    assert get_space(vit.space).parse(vit.to_json()) == vit
    network = space.build(vit, image_size=32, seed=3)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    assert torch.equal(network.head.weight, space.build(vit, image_size=32, seed=3).head.weight)
    assert not network.blocks[0].attn.fused_attn
    assert space.params(resnet) == sum(p.numel() for p in space.build(resnet).parameters())
    with pytest.raises(InputError, match="independent"):
        space.supernet(0)
    with pytest.raises(InputError, match=r"timm names.*'nope'"):
        get_space("timm(names=('nope',))")
    with pytest.raises(InputError, match="image_size"):
        space.build(vit, image_size=33)
