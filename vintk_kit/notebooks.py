"""Notebooks as functions: typed parameters are read, checked, and the notebook runs headless.

papermill executes; this module adds what it lacks: unknown names and wrong types are errors before the
kernel starts, no widget state is stored, and the HTML page shows its plotly figures without a network.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import time
import tokenize
import types
import typing
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vintk_kit.errors import DataMissingError, InputError, one_of

_TYPE_NAMES = {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict)} | {"None": None}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook: its name, type, default and the comment beside it."""

    name: str
    type: Any
    default: Any
    help: str

    @property
    def type_name(self) -> str:
        """The type as written in the notebook."""
        return getattr(self.type, "__name__", None) if isinstance(self.type, type) else str(self.type)


@dataclass
class NotebookRun:
    """What one headless execution left behind.

    Attributes:
        name: Notebook name without suffix.
        seconds: Wall time.
        notebook: The executed file.
        html: The page with its figures, readable offline.
        error: Exception line of the failing cell, or None.
        failing_cell: Source of the failing cell, or None.
    """

    name: str
    seconds: float
    notebook: Path
    html: Path
    error: str | None = None
    failing_cell: str | None = None


def notebooks_root() -> Path:
    """The folder that holds the notebooks: beside the package in a checkout, else `./notebooks`."""
    for folder in (Path(__file__).resolve().parents[1] / "notebooks", Path.cwd() / "notebooks"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise DataMissingError("notebooks: none found; run from a checkout or give a path to a .ipynb")


def notebook_names() -> list[str]:
    """The numbered notebooks, in reading order."""
    return sorted(path.stem for path in notebooks_root().glob("[0-9]*.ipynb"))


def notebook_path(name: str) -> Path:
    """Resolves a name such as `00_tour`, its number `00`, or a path."""
    if name.endswith(".ipynb"):
        path = Path(name)
        if not path.is_file():
            raise DataMissingError(f"notebook: got {name!r}; allowed: an existing .ipynb file")
        return path
    numbers = {known.split("_")[0]: known for known in notebook_names()}
    return notebooks_root() / f"{one_of('notebook', numbers.get(name, name), notebook_names())}.ipynb"


def describe(name: str) -> list[Parameter]:
    """Reads the parameters of a notebook from its cell tagged `parameters`.

    Args:
        name: Notebook name or path.

    Returns:
        The parameters in order; empty if the notebook has no such cell.

    Raises:
        InputError: If the file is no notebook or a parameter has no annotation or no literal default.
    """
    path = notebook_path(name)
    try:
        cells = json.loads(path.read_text())["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"notebook {path.name}: not a notebook file ({error})") from error
    for cell in cells:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            return _read_parameters("".join(cell["source"]), path.name)
    return []


def _read_parameters(source: str, where: str) -> list[Parameter]:
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    parameters = []
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
            raise InputError(f"{where}: parameters cell: got {ast.unparse(node)!r}; allowed: name: type = default")
        kind = eval(ast.unparse(node.annotation), {"__builtins__": {}}, _TYPE_NAMES)
        default = ast.literal_eval(node.value)
        parameters.append(Parameter(node.target.id, kind, default, comments.get(node.end_lineno, "")))
    return parameters


def _matches(value: Any, kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_matches(value, option) for option in typing.get_args(kind))
    if kind in (None, types.NoneType):
        return value is None
    if origin in (list, tuple):
        item = typing.get_args(kind)[0]
        return isinstance(value, (list, tuple)) and all(_matches(entry, item) for entry in value)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float))
    return isinstance(value, origin or kind)


def read_value(text: str, kind: Any) -> Any:
    """Reads a parameter typed on the command line: text for `str`, a Python literal otherwise."""
    if kind is str:
        return text
    try:
        return ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text.lower(), text))
    except (ValueError, SyntaxError):
        return text


def check_parameters(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks parameter names and types against the notebook.

    Raises:
        InputError: On an unknown name (the message lists the known) or a wrong type.
    """
    known = {parameter.name: parameter for parameter in describe(name)}
    for key, value in given.items():
        one_of(f"{Path(name).stem}: parameter", key, known)
        if not _matches(value, known[key].type):
            kind = known[key].type_name
            raise InputError(f"{Path(name).stem}: {key}: got {value!r}; allowed: {kind} ({known[key].help})")
    return dict(given)


def run_notebook(
    name: str, parameters: Mapping[str, Any] | None = None, *, folder: Path, progress: bool = True
) -> NotebookRun:
    """Runs one notebook headless (`live=False` where it has that parameter).

    Args:
        name: Notebook name or path.
        parameters: Values that replace the defaults; checked first.
        folder: Where the executed notebook and its page are written.
        progress: Whether to show papermill's bar.

    Returns:
        The run; a failing cell is reported in it, the notebook so far is kept.

    Raises:
        InputError: On bad parameters, before anything starts.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from vintk_kit.notebook_html import write_html
    from vintk_kit.paths import runs_root

    path = notebook_path(name)
    checked = check_parameters(name, parameters or {})
    if any(parameter.name == "live" for parameter in describe(name)):
        checked.setdefault("live", False)
    folder.mkdir(parents=True, exist_ok=True)
    run = NotebookRun(path.stem, 0.0, folder / path.name, folder / f"{path.stem}.html")
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of every "=" inside a text
    start = time.perf_counter()
    try:
        with _environment(PLOTLY_RENDERER="plotly_mimetype", VINTK_RUNS=str(runs_root().resolve())):
            papermill.execute_notebook(
                str(path), str(run.notebook), parameters=checked, store_widget_state=False,
                progress_bar=progress, cwd=os.getcwd(), kernel_name="python3", language="python",
                extra_arguments=["--log-level=ERROR"],  # no warning that a kernel on loopback is not encrypted
            )  # fmt: skip
    except PapermillExecutionError as error:
        run.error, run.failing_cell = f"{error.ename}: {error.evalue}", error.source
    run.seconds = time.perf_counter() - start
    write_html(run.notebook, run.html)
    return run


@contextmanager
def _environment(**values: str):
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
