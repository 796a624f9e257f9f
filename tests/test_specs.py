"""Invariant: a spec's text form parses back to the same spec, and lists split only at top level."""

import pytest

from vintk_kit.errors import InputError
from vintk_kit.specs import Spec, parse_spec, split_specs


def test_text_form_round_trips():
    spec = parse_spec("az-nas(low=8, kind='bandpass', bands=[1, 2])")
    assert spec == Spec("az-nas", (("bands", (1, 2)), ("kind", "bandpass"), ("low", 8)))
    assert parse_spec(str(spec)) == spec
    assert str(parse_spec("ntk")) == str(parse_spec("ntk()")) == "ntk"


def test_option_order_does_not_matter():
    assert parse_spec("a(x=1,y=2)") == parse_spec("a(y=2, x=1)")


@pytest.mark.parametrize("text", ["", "a(1)", "a(x=", "a(x=open)", "a(**k)", "a(x=1))"])
def test_malformed_specs_are_refused(text):
    with pytest.raises(InputError, match="spec: got"):
        parse_spec(text)


def test_splitting_respects_brackets_and_quotes():
    assert split_specs("a(x=1,y='p,q'), b , c(z=(1,2))") == ["a(x=1,y='p,q')", "b", "c(z=(1,2))"]
