"""The runner: parameters are checked before a kernel starts, results are readable offline."""

import json
from pathlib import Path

import nbformat
import pytest

from vintk_kit import notebooks
from vintk_kit.errors import DataMissingError, InputError
from vintk_kit.notebook_html import figures, write_index

ROOT = Path(__file__).resolve().parents[1]
ALL = sorted((ROOT / "notebooks").glob("*.ipynb"))


def make_notebook(path: Path, body: str) -> Path:
    cells = [
        nbformat.v4.new_markdown_cell("# A small notebook"),
        nbformat.v4.new_code_cell(
            "count: int = 3  # how many\nrate: float | None = None  # per second\nnames: list[str] = ['a']\n"
            "live: bool = True  # widgets",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell(body),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_parameters_are_read_with_type_default_and_help(tmp_path):
    count, rate, names, _ = notebooks.describe(str(make_notebook(tmp_path / "n.ipynb", "")))
    assert (count.name, count.type, count.default, count.help) == ("count", int, 3, "how many")
    assert rate.default is None
    assert names.default == ["a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"cuont": 3}, "cuont.*allowed: count, rate"), ({"count": "three"}, "count: got 'three'"),
     ({"count": True}, "count: got True"), ({"names": [1]}, "names: got"), ({"rate": "x"}, "rate: got")],
)  # fmt: skip
def test_wrong_parameters_are_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        notebooks.check_parameters(str(make_notebook(tmp_path / "n.ipynb", "")), given)


def test_integers_pass_for_floats_and_none_for_optional(tmp_path):
    path = str(make_notebook(tmp_path / "n.ipynb", ""))
    assert notebooks.check_parameters(path, {"rate": 2}) == {"rate": 2}
    assert notebooks.check_parameters(path, {"rate": None}) == {"rate": None}


def test_unknown_notebook_is_refused_with_the_known_names():
    with pytest.raises(InputError, match="00_tour"):
        notebooks.notebook_path("99_nothing")
    with pytest.raises(DataMissingError):
        notebooks.notebook_path("nothing.ipynb")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # nbclient and zmq warn about event loops; not ours
def test_a_run_is_headless_small_and_readable_offline(tmp_path):
    body = "import plotly.graph_objects as go\nassert not live\ngo.Figure(go.Scatter(y=[count, 1]))"
    run = notebooks.run_notebook(
        str(make_notebook(tmp_path / "n.ipynb", body)), {"count": 7}, folder=tmp_path / "out", progress=False
    )
    assert run.error is None
    assert figures(run.notebook)[0]["data"][0]["y"] == [7, 1]
    assert "widgets" not in json.loads(run.notebook.read_text())["metadata"]
    page = run.html.read_text()
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page.split("Plotly.newPlot")[0].split("<body")[1]
    broken = notebooks.run_notebook(
        str(make_notebook(tmp_path / "b.ipynb", "1 / 0")), folder=tmp_path / "out", progress=False
    )
    assert broken.error == "ZeroDivisionError: division by zero"
    assert broken.failing_cell == "1 / 0"
    index = write_index([run, broken], tmp_path / "out" / "index.html").read_text()
    assert 'href="n.html"' in index
    assert "failed" in index


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_committed_notebooks_are_clean_short_and_parameterised(path):
    """No outputs, no definitions, short cells, a `live` switch in the numbered ones; a lecture's cells fit a slide."""
    longest = 10 if path.stem.startswith("01") else 15
    document = nbformat.read(path, as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    for cell in code:
        assert not cell.outputs
        assert cell.execution_count is None
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert not any(line.startswith(("def ", "class ")) for line in lines)
        if "parameters" not in cell.metadata.get("tags", []):
            assert len(lines) <= longest, cell.source
    if path.stem[0].isdigit():
        names = [parameter.name for parameter in notebooks.describe(str(path))]
        assert "live" in names
