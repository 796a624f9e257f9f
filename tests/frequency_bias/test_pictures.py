"""Pictures of real networks: every network answers, input filters show up in the response."""

import pytest

from vintk_kit import frequency_bias as fb


@pytest.fixture(scope="module")
def images():
    return fb.photographs(4)


def test_photographs_are_normalised_and_seeded(images):
    assert images.shape == (4, 3, 32, 32)
    assert images.mean((0, 2, 3)).abs().max() < 1e-5
    assert (images == fb.photographs(4)).all()


@pytest.mark.slow
def test_vit_cnn_and_mlp_have_a_response_and_feature_spectra(images):
    networks = fb.reference_networks()
    frame = fb.network_responses(networks, images, frequencies=(1, 8))
    assert set(frame["network"]) == {"ViT", "CNN", "MLP"}
    assert (frame["response"] > 0).all()
    drops = fb.network_drops(networks, images)
    assert set(drops["network"]) == {"ViT", "CNN"}
    assert {"attention", "mlp", "block"} <= set(drops["kind"])


def test_groups_are_those_asked_for(images):
    frame = fb.network_responses({"ViT": fb.small_vit(1)}, images, groups=("attention", "mlp"), frequencies=(2,))
    assert list(frame["group"]) == ["attention", "mlp"]


def test_a_low_pass_filter_hides_high_frequencies(images):
    """Invariant: behind a low-pass filter with cut 4, a wave of 8 cycles no longer moves the tangent features."""
    frame = fb.variant_responses(fb.small_vit(1), images, ("lowpass(high=4)",))
    response = frame.set_index("frequency")["response"]
    assert response[11.0] < 1e-3 * response[2.0]
