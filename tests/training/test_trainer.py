"""The trainer: recipes, resume, several processes, signals, divergence, evaluation, export."""

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
import timm
import torch

from vintk_kit.errors import InputError, NumericalError, StoreError
from vintk_kit.spaces import get_space
from vintk_kit.training import load_trained, make_recipe, train
from vintk_kit.training.checkpoint import last_checkpoint
from vintk_kit.training.contest import contest, entrants, verdict
from vintk_kit.training.evaluate import evaluate, evaluate_logits
from vintk_kit.training.export import export_network
from vintk_kit.training.images import rank_rows
from vintk_kit.training.recipe import parse_options

SPACE = get_space("microvit-32")
TINY = SPACE.architecture(patch_size=8, embed_dim=32, depth=2, num_heads=(2, 2), mlp_ratio=(1.0, 1.0))
OPTIONS = {"epochs": 2, "batch_size": 512}
CURVE = ["epoch", "train_loss", "val_loss", "val_accuracy", "lr"]

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from vintk_kit.spaces import get_space
from vintk_kit.training import train
if __name__ == "__main__":
    space = get_space("microvit-32")
    result = train(space, space.parse(sys.argv[1]), run=sys.argv[2], epochs=int(sys.argv[3]), batch_size=512,
                   checkpoint_minutes=float(sys.argv[4]))
    sys.exit(7 if result.interrupted else 0)
"""


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)
    return path


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the training ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(script: Path, run: Path, epochs: int, minutes: float) -> subprocess.Popen:
    words = [sys.executable, str(script), TINY.to_json(), str(run), str(epochs), str(minutes)]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_recipe_options_are_checked():
    assert make_recipe("smoke", lr=1).lr == 1.0
    assert parse_options(["lr=0.1", "compile=true"]) == {"lr": 0.1, "compile": True}
    with pytest.raises(InputError, match=r"allowed: .*epochs.*mixup"):
        make_recipe("smoke", epoch=3)
    with pytest.raises(InputError, match="epochs: got '3'; allowed: int"):
        make_recipe("smoke", epochs="3")
    with pytest.raises(InputError, match="preset: got 'deit'"):
        make_recipe("deit")
    with pytest.raises(InputError, match="lr: got 'x'; allowed: float"):
        parse_options(["lr=x"])


def test_rows_of_processes_keep_mixup_pairs():
    rows = [rank_rows(16, rank, 2) for rank in range(2)]
    assert sorted(torch.cat(rows).tolist()) == list(range(16))
    for part in rows:
        assert torch.equal(part.flip(0), 15 - part)


def test_training_learns_evaluates_and_exports(tmp_path):
    seen = []
    result = train(SPACE, TINY, run=tmp_path / "run", on_epoch=seen.append, **OPTIONS)
    assert [row["epoch"] for row in seen] == [1, 2]
    assert result.accuracy > 0.3
    assert result.history["train_loss"].is_monotonic_decreasing
    found = evaluate(tmp_path / "run")
    assert found.accuracy == pytest.approx(result.accuracy)
    assert found.confusion.to_numpy().sum() == 3342
    network, facts = load_trained(tmp_path / "run")
    assert facts["space"] == "microvit-32"
    assert export_network(network, tmp_path / "net.pt2", kind="torch-export", image_size=32) < 1e-5
    with pytest.raises(StoreError, match=r"other parameters.*epochs"):
        train(SPACE, TINY, run=tmp_path / "run", epochs=3, batch_size=512)


@pytest.mark.slow
def test_onnx_agrees(tmp_path):
    assert export_network(SPACE.build(TINY), tmp_path / "net.onnx", image_size=32) < 1e-4


def test_stop_then_resume_gives_the_same_curve(tmp_path, one_thread):
    options = OPTIONS | {"mixup": 0.8, "cutmix": 1.0, "drop_path": 0.1, "ema": 0.9}
    whole = train(SPACE, TINY, run=tmp_path / "a", **options)
    stop = threading.Event()
    first = train(SPACE, TINY, run=tmp_path / "b", stop=stop, on_epoch=lambda row: stop.set(), **options)
    assert first.interrupted
    assert len(first.history) == 1
    second = train(SPACE, TINY, run=tmp_path / "b", **options)
    pd.testing.assert_frame_equal(whole.history[CURVE], second.history[CURVE], check_exact=True)


def test_divergence_names_the_last_good_checkpoint(tmp_path):
    with pytest.raises(NumericalError, match="no checkpoint was saved yet"):
        train(SPACE, TINY, epochs=1, batch_size=512, lr=1e20, clip_grad=0.0, warmup_epochs=0.0)
    train(SPACE, TINY, run=tmp_path / "run", epochs=1, batch_size=512)
    path = last_checkpoint(tmp_path / "run" / "training")
    (path / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(StoreError, match="truncated or damaged"):
        train(SPACE, TINY, run=tmp_path / "run", epochs=1, batch_size=512)


def test_timm_knows_the_spaces():
    network = timm.create_model("vintk_microvit_32", arch=TINY.to_json(), num_classes=7)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_contest_stopped_at_once_has_empty_tables(tmp_path):
    """Its columns are there, so that what follows in a notebook says that it is empty and does not fail."""
    space, stop = get_space("microvit-32"), threading.Event()
    stop.set()
    winner = space.sample(np.random.default_rng(0))
    outcome = contest(space, winner, randoms=1, stop=stop, run=tmp_path / "run")
    assert outcome.table.empty
    assert {"entrant", "params", "accuracy", "seconds"} <= set(outcome.table.columns)
    assert outcome.history.empty
    assert "stopped" in outcome.text


def test_contest_window_and_words():
    chosen = entrants(SPACE, TINY, min_params=None, max_params=1e5, randoms=3, seed=0)
    assert list(chosen) == ["winner", "largest", "random 1", "random 2", "random 3"]
    assert all(SPACE.params(arch) <= 1e5 for arch in chosen.values())
    table = pd.DataFrame({
        "entrant": list(chosen), "key": [arch.key for arch in chosen.values()],
        "params": [SPACE.params(arch) for arch in chosen.values()], "accuracy": [0.5, 0.6, 0.4, 0.45, 0.55],
    })  # fmt: skip
    text = verdict(table)
    assert "beats 2 of 3 random" in text
    assert "loses to the largest" in text
    with pytest.raises(InputError, match="keeps the limits"):
        entrants(SPACE, TINY, min_params=1, max_params=2, randoms=3, seed=0)


def test_evaluation_counts():
    logits = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    found = evaluate_logits(logits, torch.tensor([0, 1, 1]), ("a", "b"))
    assert found.confusion.to_numpy().tolist() == [[1, 0], [1, 1]]
    assert found.accuracy == pytest.approx(2 / 3)
    assert np.allclose(found.recall, [1.0, 0.5])


@pytest.mark.slow
@pytest.mark.serial
def test_killed_training_resumes_bit_identically(tmp_path, script, one_thread):
    whole = train(SPACE, TINY, run=tmp_path / "whole", **OPTIONS)
    folder = tmp_path / "killed" / "training"
    process = start(script, tmp_path / "killed", 2, 0.0)
    try:
        wait_for(lambda: int(max((p.name[5:] for p in folder.glob("step-*")), default="0")) >= 4, process)
    finally:
        process.kill()
        process.wait()
    resumed = train(SPACE, TINY, run=tmp_path / "killed", checkpoint_minutes=0.0, **OPTIONS)
    pd.testing.assert_frame_equal(whole.history[CURVE], resumed.history[CURVE], check_exact=True)


@pytest.mark.slow
@pytest.mark.serial
def test_sigterm_saves(tmp_path, script):
    process = start(script, tmp_path / "run", 500, 0.0)
    try:
        folder = tmp_path / "run" / "training"
        wait_for(lambda: last_checkpoint(folder) is not None if folder.exists() else False, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7
    finally:
        process.kill()
    assert last_checkpoint(folder) is not None


@pytest.mark.slow
@pytest.mark.serial
def test_two_processes_have_the_curve_of_one(tmp_path, script, one_thread):
    whole = train(SPACE, TINY, run=tmp_path / "one", **OPTIONS)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run([sys.executable, *words, TINY.to_json(), str(tmp_path / "two"), "2", "10"],
                   check=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    split = pd.read_csv(tmp_path / "two" / "training" / "history.csv")
    np.testing.assert_allclose(split[["train_loss", "val_loss"]], whole.history[["train_loss", "val_loss"]], rtol=1e-3)
