"""The command line: help is quick and complete, bad input is one line and exit code 2."""

import importlib
import re

import nbformat
import pytest

from vintk_kit import cli


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def test_help_names_the_areas(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in (
        "score",
        "search",
        "train",
        "correlate",
        "segment",
        "spaces",
        "proxies",
        "notebooks",
        "benchmark",
    ):
        assert re.search(rf"\b{word}\b", out), word


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["spaces", "no-such-space"], "microvit-32"),
        (["search", "--space", "no-such-space", "--candidates", "3"], "autoformer-tiny"),
        (["search", "--space", "microvit-32", "--proxies", "nope", "--candidates", "3"], "vintk"),
        (["score", "--space", "microvit-32", "--data", "nope", "--candidates", "1"], "photopatch"),
        (["search", "--space", "microvit-32", "--max-params", "10", "--candidates", "3"], "params"),
        (["notebooks", "run", "00_tour", "-p", "nothing", "1"], "allowed"),
        (["notebooks", "run"], "--all"),
        (["notebooks", "run", "00_tour", "-p", "live"], "NAME VALUE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_bad_input_ends_with_a_message_and_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("VINTK_RUNS", str(tmp_path))
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


def test_notebook_parameters_are_described(capsys):
    code, out, _ = run(capsys, "notebooks", "describe", "00_tour")
    assert code == 0
    assert "live: bool = True" in out


def test_several_notebooks_keep_their_results_apart(capsys, tmp_path, monkeypatch):
    """Two notebooks that search would meet in one folder, and the second be refused."""
    from vintk_kit import notebooks

    given = {}

    def record(name, values, *, folder, progress):
        given[name] = values.get("run")
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(), folder / f"{name}.ipynb")
        return notebooks.NotebookRun(name, 1.0, folder / f"{name}.ipynb", folder / f"{name}.html")

    monkeypatch.setenv("VINTK_RUNS", str(tmp_path))
    monkeypatch.setattr(notebooks, "run_notebook", record)
    code, _, _ = run(capsys, "notebooks", "run", "--all", "--run", "mine")
    runs = [name for name in given.values() if name is not None]
    assert code == 0
    assert given["05_search"] == "mine-05_search"
    assert len(set(runs)) == len(runs) >= 5
    run(capsys, "notebooks", "run", "05_search", "--run", "mine")
    assert given["05_search"] == "mine"


def test_every_area_registers():
    for area in cli.AREAS:
        assert callable(importlib.import_module(f"vintk_kit.cli.{area}").register)
