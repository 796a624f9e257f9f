"""Controls edit plain objects; wrong input is a message and changes nothing."""

import numpy as np
import pytest

from vintk_kit.errors import InputError
from vintk_kit.spaces import get_space
from vintk_kit.widgets import Budget, FourierTuner, ProxyPicker, SpacePicker
from vintk_kit.widgets.settings import FourierSettings, Region


def test_the_space_picker_counts_what_remains():
    picker = SpacePicker("microvit-32")
    _ = picker.view
    space = get_space("microvit-32")
    assert f"{space.size():,}" in picker.count.value
    picker._fields["depth"].index = (0, 1)
    assert picker.value.options["depth"] == (2, 3)
    region = picker.value.search_space()
    assert region.size() == picker.value.size() < space.size()
    rng = np.random.default_rng(0)
    drawn = [region.sample(rng) for _ in range(50)]
    assert {arch["depth"] for arch in drawn} == {2, 3}
    assert all(space.contains(arch) for arch in drawn)
    low, high = picker.value.params_range()
    assert all(low <= space.params(arch) <= high for arch in drawn)


def test_a_region_shares_the_initial_weights_of_the_whole_space():
    region = Region("microvit-32", {"depth": (2,), "embed_dim": (32,)}).search_space()
    whole, part = get_space("microvit-32").supernet(0), region.supernet(0)
    assert all((part.state[name] == tensor).all() for name, tensor in whole.state.items())


def test_a_field_without_options_is_refused_and_the_object_stays():
    picker = SpacePicker("microvit-32")
    _ = picker.view
    before = picker.value.options["patch_size"]
    for toggle in picker._fields["patch_size"].children[1:]:
        toggle.value = False
    assert "nothing is chosen" in picker.message.value
    assert picker.value.options["patch_size"] == (8,)
    picker._fields["patch_size"].children[1].value = True
    picker._fields["patch_size"].children[2].value = True
    assert picker.message.value == ""
    assert picker.value.options["patch_size"] == before


@pytest.mark.parametrize("options", [{"depht": (2,)}, {"depth": (99,)}, {"depth": ()}])
def test_regions_check_fields_and_options(options):
    with pytest.raises(InputError, match="allowed"):
        Region("microvit-32", options).check()


def test_the_budget_is_keyword_arguments_of_a_search():
    budget = Budget(40, params_range=(20_000, 1_500_000))
    number, sizes = budget.view.children[1:3]
    number.value = 25
    assert vars(budget.value) == {"candidates": 25, "min_params": None, "max_params": None, "max_macs": None}
    sizes.value = (0.1, 1.0)
    assert budget.value.min_params == pytest.approx(100_000, abs=8_000)
    assert budget.value.max_params == pytest.approx(1_000_000, abs=8_000)


def test_a_budget_shows_the_limits_it_holds_and_refuses_impossible_ones():
    budget = Budget(40, max_params=4e5, params_range=(20_000, 1_500_000))
    assert budget.value.max_params == 400_000
    assert budget.view.children[2].value == pytest.approx((0.02, 0.4), abs=0.008)
    assert Budget(40, max_params=9e9, params_range=(20_000, 1_500_000)).view.children[2].value[1] == 1.5
    with pytest.raises(InputError, match="max_params: got 10; allowed: a number above 20"):
        Budget(40, min_params=20, max_params=10)


def test_the_tuner_edits_features_and_enables_only_what_the_kind_uses():
    heard = []
    tuner = FourierTuner(image_size=32)
    _ = tuner.view
    tuner.on_change(lambda settings: heard.append(settings.features()))
    tuner.fields["high"].value = 8
    assert (tuner.value.low, tuner.value.high) == (2, 8)
    tuner.fields["high"].value = 16
    assert tuner.value.high is None
    tuner.fields["kind"].value = "fold-gaussian"
    assert tuner.fields["low"].disabled
    assert not tuner.fields["sigma"].disabled
    assert [features.kind for features in heard] == ["bandpass", "bandpass", "fold-gaussian"]


def test_an_impossible_band_is_a_message_and_is_left_behind_by_the_next_valid_one():
    tuner = FourierTuner(FourierSettings(low=4, high=8))
    _ = tuner.view
    tuner.fields["low"].value = 10
    assert "high" in tuner.message.value
    assert "Traceback" not in tuner.message.value
    assert tuner.value.low == 4
    tuner.fields["low"].value = 6
    assert tuner.message.value == ""
    assert tuner.value.low == 6
    tuner.fields["low"].value = 10
    tuner.fields["high"].value = 12
    assert (tuner.message.value, tuner.value.low, tuner.value.high) == ("", 10, 12)


def test_the_proxy_picker_edits_specs_and_a_spec_of_ones_own_can_be_taken_back():
    picker = ProxyPicker(("ntk", "params"))
    assert picker.view
    heard = []
    picker.on_change(lambda choice: heard.append(list(choice.specs)))
    picker._boxes["naswot"].value = True
    picker._boxes["params"].value = False
    assert picker.value.specs == ["ntk", "naswot"]
    assert "ntk, naswot" in picker._chosen.value
    picker._text.value = "vintk(kind='highpass', low=8)"
    spec = picker.value.specs[-1]
    assert spec.startswith("vintk(")
    assert picker._text.value == ""
    assert heard[-1] == picker.value.specs
    picker._boxes[spec].value = False
    picker._text.value = "snip"  # a plain name ticks the box it has
    assert picker._boxes["snip"].value
    assert picker.value.specs == ["ntk", "naswot", "snip"]


def test_an_unknown_proxy_is_a_message_and_changes_nothing():
    picker = ProxyPicker(("ntk",))
    assert picker.view
    picker._text.value = "nkt"
    assert "nkt" in picker.message.value
    assert picker.value.specs == ["ntk"]
    assert picker._text.value == "nkt"
    picker._boxes["ntk"].value = False
    assert "choose at least one" in picker._chosen.value
