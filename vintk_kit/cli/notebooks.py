"""`vintk notebooks`: list, describe and run the notebooks headless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vintk_kit.errors import DataMissingError, InputError


def register(app: typer.Typer) -> None:
    """Adds the `notebooks` group to the application."""
    group = typer.Typer(no_args_is_help=True, help="List, describe and run the notebooks headless.")
    group.command("list")(list_notebooks)
    group.command("describe")(describe_notebook)
    group.command("run")(run_notebooks)
    app.add_typer(group, name="notebooks")


def join_parameters(arguments: list[str]) -> list[str]:
    """Joins papermill's `-p NAME VALUE` into the one-word form `NAME=VALUE` that Typer can repeat."""
    joined, words = [], iter(arguments)
    for word in words:
        joined.append(word)
        if word == "-p":
            name = next(words, None)
            value = None if name is None or "=" in name else next(words, None)
            if name is None or ("=" not in name and value is None):
                raise InputError("-p: got no value; allowed: -p NAME VALUE")
            joined.append(name if value is None else f"{name}={value}")
    return joined


def list_notebooks() -> None:
    """List the notebooks with their titles."""
    import json

    from vintk_kit.notebooks import notebook_names, notebook_path

    for name in notebook_names():
        first = json.loads(notebook_path(name).read_text())["cells"][0]["source"]
        typer.echo(f"{name:24s} {''.join(first).splitlines()[0].lstrip('# ')}")


def describe_notebook(name: str = typer.Argument(..., help="Notebook name, such as 00_tour.")) -> None:
    """Print the parameters of a notebook: name, type, default, help."""
    from vintk_kit.notebooks import describe

    for parameter in describe(name):
        typer.echo(f"{parameter.name}: {parameter.type_name} = {parameter.default!r}\n    {parameter.help}")


def run_notebooks(
    names: list[str] = typer.Argument(None, help="Notebook names, such as 00_tour."),
    run_all: bool = typer.Option(False, "--all", help="Run every notebook."),
    parameter: list[str] = typer.Option([], "-p", metavar="NAME VALUE", help="One parameter; repeatable."),
    parameters: Path = typer.Option(None, "--parameters", help="YAML file with parameter values."),
    run: str = typer.Option("notebooks", "--run", help="Run folder that receives the results."),
) -> None:
    """Run notebooks headless; write them, their pages and an index under runs/NAME/notebooks.

    With several, what each computes goes to a run folder of its own, runs/NAME-NOTEBOOK.
    A notebook that fails does not stop the others; its failing cell is shown and the exit code is 1.
    """
    from tqdm import tqdm

    from vintk_kit import notebooks
    from vintk_kit.notebook_html import write_index
    from vintk_kit.paths import run_folder

    names = notebooks.notebook_names() if run_all else list(names or [])
    if not names:
        raise InputError("notebooks run: got no notebook; allowed: names, or --all")
    typed = dict(text.split("=", 1) for text in parameter)
    values = {name: _values(name, typed, parameters, run, shared=len(names) > 1) for name in names}
    folder = run_folder(run) / "notebooks"
    runs = []
    for name in tqdm(names, desc="notebooks", disable=len(names) == 1):
        runs.append(notebooks.run_notebook(name, values[name], folder=folder, progress=len(names) == 1))
        _report(runs[-1])
    if len(runs) > 1:
        typer.echo(f"index     {write_index(runs, folder / 'index.html')}")
    for kept in dict.fromkeys(value.get("run", run) for value in values.values()):
        _list_results(run_folder(kept))
    if any(finished.error for finished in runs):
        raise typer.Exit(1)


def _values(name: str, typed: dict[str, str], file: Path | None, run: str, *, shared: bool) -> dict[str, Any]:
    """Checked parameter values of one notebook; with several, each takes those it knows."""
    from vintk_kit.notebooks import check_parameters, describe, read_value

    kinds = {parameter.name: parameter.type for parameter in describe(name)}
    values = _read_yaml(file) if file else {}
    values |= {key: read_value(text, kinds.get(key, str)) for key, text in typed.items()}
    if shared:
        values = {key: value for key, value in values.items() if key in kinds}
    if "run" in kinds:
        values.setdefault("run", run)
        if shared:  # two searches in one folder would be two searches of one name, which the store refuses
            values["run"] = f"{values['run']}-{name}"
    return check_parameters(name, values)


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    if not file.is_file():
        raise DataMissingError(f"--parameters: got {str(file)!r}; allowed: an existing YAML file")
    try:
        values = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"--parameters: {file.name} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"--parameters: got {type(values).__name__}; allowed: a mapping of names to values")
    return values


def _report(finished: Any) -> None:
    state = f"FAILED {finished.error}" if finished.error else "done"
    typer.echo(f"{finished.name}: {state} in {finished.seconds:.0f} s\n  page      {finished.html}")
    if finished.error:
        typer.echo(f"  failing cell:\n{finished.failing_cell}", err=True)


def _list_results(folder: Path) -> None:
    """Points at the winner and the tables of a run, not at what each training inside it keeps."""
    shown = {"architecture.json": "winner", "report.html": "report", "*.csv": "table", "*/*.csv": "table"}
    for pattern, label in shown.items():
        for path in sorted(folder.glob(pattern)):
            typer.echo(f"{label:9s} {path}")
