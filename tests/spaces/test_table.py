"""The set: uniform sampling, exact size, variation that stays inside and reaches everything, reading, messages."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from vintk_kit.errors import InputError
from vintk_kit.spaces import SPACES, Architecture, ViTSpace, get_space

TABLE = {"embed_dim": (16, 32), "depth": (1, 2), "num_heads": (1, 2), "mlp_ratio": (1.0, 2.0)}
NAMES = [name for name in SPACES if name not in ("hybrid-hr", "timm")]


@pytest.fixture(scope="module")
def tiny() -> ViTSpace:
    """A space of 40 architectures."""
    return ViTSpace("tiny", "test", TABLE, patch_size=8, image_size=16, num_classes=3, head_dim=8)


def test_size_counts_the_enumerated_set(tiny):
    for space in (tiny, get_space("pit-ti"), get_space("nasbench201"), get_space("pit-s(grid='full')")):
        everything = list(space.enumerate())
        assert len(set(everything)) == len(everything) == space.size()
        assert all(space.contains(arch) for arch in everything[:: max(1, len(everything) // 200)])


def test_sizes_of_the_released_spaces():
    assert get_space("autoformer-tiny").size() == 3 * (4**12 + 4**13 + 4**14)
    assert get_space("autoformer-small").size() == 3 * (9**12 + 9**13 + 9**14)
    assert get_space("autoformer-base").size() == 3 * (6**14 + 6**15 + 6**16)
    assert get_space("as-vit").size() == 5 * 27 * 18 * 625 * 3
    assert get_space("microvit-32").size() >= 10_000


def test_sampling_is_uniform_over_the_set(tiny):
    rng = np.random.default_rng(0)
    counts = Counter(tiny.sample(rng) for _ in range(8000))
    assert set(counts) == set(tiny.enumerate())
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("spec", ["pit-ti", "pit-ti(grid='full')"])
def test_sampling_keeps_the_constraint(spec):
    space, rng = get_space(spec), np.random.default_rng(1)
    drawn = [space.sample(rng) for _ in range(300)]
    assert all(space.contains(arch) for arch in drawn)
    rising = [list(arch["num_heads"]) == sorted(arch["num_heads"]) for arch in drawn]
    assert all(rising) == (spec == "pit-ti")


def test_neighbours_are_complete_symmetric_and_connected(tiny):
    everything = set(tiny.enumerate())
    near = {arch: tiny.neighbours(arch) for arch in everything}
    assert all(len(set(found)) == len(found) and arch not in found for arch, found in near.items())
    assert all(arch in near[other] for arch, found in near.items() for other in found)
    seen, edge = set(), {next(iter(everything))}
    while edge:
        seen |= edge
        edge = {other for arch in edge for other in near[arch]} - seen
    assert seen == everything
    arch = tiny.architecture(embed_dim=16, depth=1, num_heads=[1], mlp_ratio=[1])
    assert len(near[arch]) == 3 + 4  # width, head, ratio; a second layer of four kinds


def test_mutation_reaches_everything_and_differs(tiny):
    rng, everything = np.random.default_rng(2), list(tiny.enumerate())
    for start in (everything[0], everything[-1]):  # the shallowest and the deepest: a set's order differs by process
        reached = {tiny.mutate(start, rng, 0.5) for _ in range(4000)}
        assert reached == set(everything) - {start}


def test_crossover_takes_each_choice_from_a_parent(tiny):
    rng = np.random.default_rng(3)
    a = tiny.architecture(embed_dim=16, depth=2, num_heads=[1, 1], mlp_ratio=[1, 1])
    b = tiny.architecture(embed_dim=32, depth=2, num_heads=[2, 2], mlp_ratio=[2, 2])
    assert len({tiny.crossover(a, b, rng) for _ in range(2000)}) == 2**5
    short = tiny.architecture(embed_dim=32, depth=1, num_heads=[2], mlp_ratio=[2])
    for _ in range(50):
        child = tiny.crossover(a, short, rng)
        assert tiny.contains(child)
        assert child["depth"] == 1 or child["num_heads"][1] == 1  # the second layer can only come from `a`


@pytest.mark.parametrize("name", NAMES)
def test_every_space_varies_inside_and_round_trips(name):
    space, rng = get_space(name), np.random.default_rng(4)
    a, b = space.sample(rng), space.sample(rng)
    for arch in (a, space.mutate(a, rng), space.crossover(a, b, rng), *space.neighbours(a)[:5]):
        assert space.contains(arch)
        assert space.parse(arch.to_json()) == Architecture.from_json(arch.to_json()) == arch
    for label, arch in space.published().items():
        assert space.validate(arch) == arch
        assert space.contains(arch) == (label != "AutoFormer-T")
        assert space.contains(space.mutate(arch, rng)) or space.size() == 1
    assert set(space.describe()["field"]) == set(space.choices)
    assert space.name in space._repr_html_()


def test_same_seed_same_sample_in_another_process():
    code = (
        "import numpy as np; from vintk_kit.spaces import get_space;"
        "print(get_space('microvit-32').sample(np.random.default_rng([7, 1])).key)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == get_space("microvit-32").sample(np.random.default_rng([7, 1])).key


def test_the_key_is_pinned():
    arch = Architecture("autoformer-tiny", (("embed_dim", 192), ("depth", 1), ("mlp_ratio", (3.5,))))
    assert arch.to_json() == '{"space":"autoformer-tiny","choices":{"embed_dim":192,"depth":1,"mlp_ratio":[3.5]}}'
    assert arch.key == "autoformer-tiny-a5e6b8d0815f"
    assert arch["depth"] == 1


GOOD = {"patch_size": 4, "embed_dim": 64, "depth": 2, "num_heads": [2, 4], "mlp_ratio": [1, 2]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": [2, "x"]}, r"num_heads\[1\].*'x'.*2, 4, 8"),
        ({"num_heads": [2, 2.5]}, r"num_heads\[1\].*2\.5.*whole"),
        ({"num_heads": [2, 4, 8]}, r"num_heads.*3 values.*2 values"),
        ({"mlp_ratio": 2}, r"mlp_ratio.*list of 2"),
        ({"embed_dim": -1}, r"embed_dim.*-1.*positive"),
        ({"depth": True}, r"depth.*True"),
        ({"width": 3}, r"field.*'width'.*embed_dim"),
        ({"depth": None}, r"depth.*None"),
    ],
)
def test_a_bad_field_is_named(change, message):
    with pytest.raises(InputError, match=message):
        get_space("microvit-32").architecture(**GOOD | change)


def test_other_bad_input_has_a_message():
    space = get_space("microvit-32")
    arch = space.architecture(**GOOD)
    with pytest.raises(InputError, match="'depth' is missing"):
        space.parse('{"embed_dim": 64, "patch_size": 4, "num_heads": [2], "mlp_ratio": [1]}')
    with pytest.raises(InputError, match="JSON"):
        space.parse("{nonsense")
    with pytest.raises(InputError, match=r"image_size: got 30; allowed: multiples of the patch size 4"):
        space.build(arch, image_size=30)
    with pytest.raises(InputError, match=r"space.*microvit-32.*pit-ti"):
        get_space("pit-ti").params(arch)
    with pytest.raises(InputError, match=r"search space: got 'vit'; allowed: .*autoformer-tiny"):
        get_space("vit")
    with pytest.raises(InputError, match=r"pit-ti.*colour"):
        get_space("pit-ti(colour=1)")
    with pytest.raises(InputError, match="divisor of 192"):
        get_space("autoformer-tiny-scratch").architecture(embed_dim=192, depth=1, num_heads=[5], mlp_ratio=[4])
    with pytest.raises(InputError, match="num_classes"):
        space.params(arch, num_classes=0)
    with pytest.raises(InputError, match="probability"):
        space.mutate(arch, np.random.default_rng(0), 0)
