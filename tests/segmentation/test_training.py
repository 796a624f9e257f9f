"""Dense training: learning, exact resume, kills, several processes, evaluation, prediction, contest, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from vintk_kit.cli import build_app
from vintk_kit.errors import InputError, StoreError, VintkError
from vintk_kit.plots import segmentation as figures
from vintk_kit.segmentation import evaluate_dense, load_dense, load_pairs, make_dense_recipe, train_dense
from vintk_kit.segmentation.contest import dense_contest
from vintk_kit.segmentation.predict import predict_files
from vintk_kit.segmentation.recipe import parse_dense_options
from vintk_kit.segmentation.trainer import PixelLoss
from vintk_kit.spaces import get_space
from vintk_kit.training.checkpoint import last_checkpoint

SPACE = get_space("hybrid-hr")
ARCH = SPACE.smallest()
CURVE = ["epoch", "train_loss", "val_loss", "val_miou", "val_accuracy", "lr"]
OPTIONS = {"batch_size": 4, "crop_height": 32, "crop_width": 32}

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from vintk_kit.segmentation import train_dense
from vintk_kit.spaces import get_space
if __name__ == "__main__":
    space = get_space("hybrid-hr")
    train_dense(space, space.smallest(), data="voc", root=sys.argv[1], run=sys.argv[2], epochs=int(sys.argv[3]),
                batch_size=4, crop_height=32, crop_width=32, checkpoint_minutes=0.0)
"""


def run(folder: Path | None, root: Path, epochs: int = 2, **options):
    return train_dense(SPACE, ARCH, data="voc", root=root, run=folder, epochs=epochs, **OPTIONS | options)


def test_loss_counts_known_pixels_only():
    logits, masks = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    masks[0] = 255
    expected = torch.nn.functional.cross_entropy(logits[1:], masks[1:])
    torch.testing.assert_close(PixelLoss()(logits, masks), expected)
    assert PixelLoss()(logits, torch.full_like(masks, 255)) == 0


def test_training_learns_is_measured_and_predicts(voc_folder, tmp_path):
    result = run(tmp_path / "run", voc_folder, epochs=8, lr=3e-3)
    assert result.history["val_miou"].iloc[-1] > 0.75
    found = evaluate_dense(tmp_path / "run", root=voc_folder)
    assert found.miou == pytest.approx(result.accuracy)
    assert found.images == 2
    window = evaluate_dense(tmp_path / "run", root=voc_folder, window=(32, 32), scales=(1.0, 1.5), flip=True)
    assert window.miou > 0.5
    network, facts = load_dense(tmp_path / "run")
    files = [voc_folder / "JPEGImages" / "00.png"]
    ((_, target, mask),) = predict_files(network, facts, files, tmp_path / "masks")
    pairs = load_pairs("voc", root=voc_folder, split="test")
    image, truth = pairs[0]
    assert (mask == truth)[truth != 255].mean() > 0.8
    from vintk_kit.segmentation.pairs import read_mask

    assert np.array_equal(read_mask(target), mask)
    figure = figures.overlay_figure([image], {"truth": [truth], "network": [mask]}, pairs.classes, pairs.colours)
    assert [trace.name for trace in figure.data if trace.type == "scatter"] == ["dark", "bright"]
    assert len(figures.iou_figure({"a": found.table, "b": window.table}).data) == 2
    with pytest.raises(StoreError, match="epochs"):
        run(tmp_path / "run", voc_folder, epochs=9, lr=3e-3)


def test_stop_then_resume_gives_the_same_curve(voc_folder, tmp_path):
    options = {"drop_path": 0.1, "ema": 0.9, "scale_max": 1.5, "color_jitter": 0.2}
    whole, stop = run(None, voc_folder, **options), threading.Event()
    first = run(tmp_path / "a", voc_folder, stop=stop, on_epoch=lambda row: stop.set(), **options)
    assert first.interrupted
    second = run(tmp_path / "a", voc_folder, **options)
    pd.testing.assert_frame_equal(second.history[CURVE], whole.history[CURVE], check_exact=True)


def test_decoder_and_baseline_train(voc_folder):
    space = get_space("microvit-32")
    arch = space.sample(np.random.default_rng(0))
    result = train_dense(space, arch, data="voc", root=voc_folder, epochs=1, decoder="segformer", **OPTIONS)
    assert len(result.history) == 1
    with pytest.raises(InputError, match="32 x 32, the size of this backbone"):
        train_dense(space, arch, data="voc", root=voc_folder, epochs=1, **OPTIONS | {"crop_width": 64})


def test_other_classes_and_damage_are_refused(voc_folder, tmp_path):
    run(tmp_path / "run", voc_folder, epochs=1)
    with pytest.raises(InputError, match=r"a network with 2; the data set bluemarble-test has 6"):
        evaluate_dense(tmp_path / "run", data="bluemarble")
    with pytest.raises(InputError, match=r"64 x 64 pixels; allowed: at least the window, 128 x 128"):
        evaluate_dense(tmp_path / "run", root=voc_folder, window=(128, 128))
    best = tmp_path / "run" / "training" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(StoreError, match="truncated"):
        load_dense(tmp_path / "run")
    checkpoint = last_checkpoint(tmp_path / "run" / "training") / "weights.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(StoreError, match="truncated or damaged"):
        run(tmp_path / "run", voc_folder, epochs=1)


def test_options_are_checked():
    assert parse_dense_options(["decoder=upernet", "crop_width=1024", "compile=false"])["crop_width"] == 1024
    for options, message in (
        ({"crop_height": 100}, "multiples of 32"), ({"decoder": "x"}, "linear, fcn"), ({"mixup": 0.8}, "option"),
        ({"batch_size": 3}, "even"), ({"scale_min": 2.0}, "scale_max"), ({"epochs": 0}, "at least 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            make_dense_recipe("smoke", **options)
    with pytest.raises(InputError, match="smoke, bluemarble, cityscapes, ade20k"):
        make_dense_recipe("voc")


@pytest.mark.slow
def test_contest_trains_each_entrant_once(voc_folder, tmp_path):
    options = {"data": "voc", "root": voc_folder, "epochs": 1, "baseline": "microvit-32", **OPTIONS}
    outcome = dense_contest(SPACE, ARCH, max_params=3e6, run=tmp_path / "run", **options)
    assert outcome.table["entrant"].tolist() == ["winner", "random 1", "baseline"]
    assert outcome.text.startswith("Winner: mIoU")
    assert len(figures.dense_history_figure(outcome.history).data) == 3
    drawn = figures.contest_masks(tmp_path / "run", "voc", images=2, root=voc_folder)
    assert sum(trace.type == "image" for trace in drawn.data) == 2 * 5  # image, truth, three entrants
    again = dense_contest(SPACE, ARCH, max_params=3e6, run=tmp_path / "run", **options)
    pd.testing.assert_frame_equal(again.table, outcome.table)


def test_commands(voc_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app, runner = build_app(), CliRunner()

    def call(*words: str) -> str:
        result = runner.invoke(app, ["segment", *words])
        if isinstance(result.exception, VintkError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    data = ("--data", "voc", "--root", str(voc_folder))
    sizes = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    assert "mIoU" in call("train", ARCH.to_json(), *data, "--run", "dense", "-o", "epochs=1", *sizes)
    assert "bright" in call("evaluate", "dense", "--root", str(voc_folder), "--flip", "--output", "table.csv")
    assert pd.read_csv("table.csv")["class"].tolist() == ["dark", "bright"]
    assert "masks/03.png" in call("predict", "dense", str(voc_folder / "JPEGImages" / "03.png"))
    assert Path("masks/overlay.html").stat().st_size > 1e6
    assert "cityscapes" in call("datasets")
    words = ("score", *data, "--count", "2", "--size", "32", "--batch-size", "4", "--proxies", "ntk,params")
    assert "hybrid-hr-" in call(*words)
    with pytest.raises(InputError, match="HEIGHTxWIDTH"):
        call("evaluate", "dense", "--window", "32")


def start(tmp_path: Path, root: Path, folder: Path, epochs: int, *prefix: str) -> subprocess.Popen:
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)
    words = [sys.executable, *prefix, str(path), str(root), str(folder), str(epochs)]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.slow
@pytest.mark.serial
def test_a_killed_training_resumes_bit_for_bit(voc_folder, tmp_path):
    folder = tmp_path / "killed"
    process = start(tmp_path, voc_folder, folder, 500)
    deadline = time.monotonic() + 120
    while last_checkpoint(folder / "training") is None:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stop, seen = threading.Event(), []

    def watch(row):
        seen.append(row)
        if len(seen) == 2:
            stop.set()

    resumed = run(folder, voc_folder, epochs=500, stop=stop, on_epoch=watch, checkpoint_minutes=0.0)
    count = len(resumed.history)
    stop = threading.Event()
    whole = run(None, voc_folder, epochs=500, stop=stop, on_epoch=lambda row: row["epoch"] == count and stop.set())
    pd.testing.assert_frame_equal(resumed.history[CURVE], whole.history[CURVE], check_exact=True)


@pytest.mark.slow
@pytest.mark.serial
def test_two_processes_give_the_curve_of_one(voc_folder, tmp_path):
    words = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(tmp_path, voc_folder, tmp_path / "two", 2, *words)
    assert process.wait(timeout=240) == 0
    two = pd.read_csv(tmp_path / "two" / "training" / "history.csv")
    one = run(None, voc_folder).history
    np.testing.assert_allclose(two[CURVE], one[CURVE], rtol=2e-3, atol=2e-4)
