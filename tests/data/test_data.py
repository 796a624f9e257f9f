"""Data sets and probe batches."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from vintk_kit.data import DATASETS, ProbeBatch, dataset_table, load_dataset, probe_batch
from vintk_kit.errors import DataMissingError, InputError


def test_photopatch_has_the_documented_size_and_no_shared_pixels() -> None:
    train, test = load_dataset("photopatch"), load_dataset("photopatch", split="test")
    assert (len(train), len(test), train.num_classes) == (8326, 3342, 10)
    assert train.images.shape == (8326, 32, 32, 3)
    assert train.images.dtype == np.uint8
    pixels = train.images.reshape(-1, 3) / 255
    np.testing.assert_allclose(pixels.mean(0), train.mean, atol=1e-3)
    np.testing.assert_allclose(pixels.std(0), train.std, atol=1e-3)


def test_bluemarble_has_the_documented_size() -> None:
    train = load_dataset("bluemarble-cls")
    assert (len(train), train.num_classes) == (5519, 13)
    assert len(load_dataset("bluemarble-cls", split="test")) == 1284


def test_probe_batch_is_balanced_seeded_and_identified() -> None:
    batch = probe_batch("photopatch", n=25, image_size=32, seed=3)
    assert batch.images.shape == (25, 3, 32, 32)
    assert batch.images.dtype == torch.float32
    counts = batch.labels.bincount(minlength=10)
    assert counts.max() - counts.min() <= 1
    again, other = probe_batch("photopatch", n=25, seed=3), probe_batch("photopatch", n=25, seed=4)
    assert torch.equal(batch.images, again.images)
    assert batch.data_id == again.data_id != other.data_id
    assert len({image.numpy().tobytes() for image in batch.images}) == 25


def test_large_images_hold_more_than_an_enlarged_patch() -> None:
    """At 96 pixels the patches are cut at that size, so they have energy beyond 16 cycles per image."""
    batch = probe_batch("photopatch", n=10, image_size=96)
    spectrum = torch.fft.rfft2(batch.images).abs()[:, :, :, 20:]
    assert spectrum.mean() > 1
    assert probe_batch("photopatch", n=4, image_size=224).images.shape == (4, 3, 224, 224)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "at least 2 images"),
        ({"n": 100_000}, "at most 8326"),
        ({"image_size": 1}, "at least 4 pixels"),
        ({"name": "cifar11"}, "allowed: photopatch"),
    ],
)
def test_bad_requests_say_what_is_allowed(options: dict, message: str) -> None:
    options = {"name": "photopatch", **options}
    with pytest.raises(InputError, match=message):
        probe_batch(options.pop("name"), **options)


def test_bad_pixels_are_refused() -> None:
    images = torch.zeros(3, 3, 8, 8)
    images[1, 0, 0, 0] = float("nan")
    about = {"data_id": "x", "num_classes": 2, "mean": (0, 0, 0), "std": (1, 1, 1)}
    with pytest.raises(InputError, match="NaN or infinite pixels in 1 image"):
        ProbeBatch(images, torch.zeros(3, dtype=torch.int64), **about)
    with pytest.raises(InputError, match="at least 2"):
        ProbeBatch(images[:1], torch.zeros(1, dtype=torch.int64), **about)
    with pytest.raises(InputError, match="probe labels"):
        ProbeBatch(torch.zeros(3, 3, 8, 8), torch.zeros(2, dtype=torch.int64), **about)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagefolder"])
def test_missing_files_say_how_to_get_them(name: str, tmp_path) -> None:
    with pytest.raises(DataMissingError, match="VINTK_DATA"):
        load_dataset(name, root=tmp_path)


def write_idx(path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def test_fashion_mnist_reads_idx_files(tmp_path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(20, dtype=np.uint8) % 10)
    data = load_dataset("fashion-mnist", root=tmp_path)
    np.testing.assert_array_equal(data.images[..., 2], images)
    assert data.labels.tolist() == [i % 10 for i in range(20)]
    assert probe_batch("fashion-mnist", n=10, root=tmp_path).labels.unique().numel() == 10
    with pytest.raises(DataMissingError, match="dataset-fashion-mnist"):
        load_dataset("fashion-mnist", root=tmp_path, split="test")


def test_image_folder_of_any_sizes(tmp_path) -> None:
    for label, name in enumerate(("ants", "bees")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (20 + i, 30), (80 * label, 10 * i, 0)).save(tmp_path / "train" / name / f"{i}.png")
    data = load_dataset("imagefolder", root=tmp_path)
    assert data.classes == ("ants", "bees")
    assert data.images[1].shape == (30, 21, 3)
    batch = probe_batch("imagefolder", n=4, image_size=16, root=tmp_path)
    assert batch.images.shape == (4, 3, 16, 16)
    assert batch.labels.bincount().tolist() == [2, 2]
    (tmp_path / "train" / "ants" / "0.png").write_bytes(b"not an image")
    with pytest.raises(DataMissingError, match="cannot be read"):
        probe_batch("imagefolder", n=6, image_size=16, root=tmp_path)


def test_the_table_lists_every_data_set(tmp_path) -> None:
    table = dataset_table(tmp_path)
    assert table["name"].tolist() == list(DATASETS)
    assert table.set_index("name")["available"][["photopatch", "cifar10"]].tolist() == [True, False]
