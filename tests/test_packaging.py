"""The package list, the conda file and the imports agree with the tree."""

import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("vintk_kit/**/__init__.py")}
    assert found | {"vintk_kit.widgets"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_conda_environment_agrees_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    names = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-e .[all]"]
    assert "all" in PROJECT["project"]["optional-dependencies"]
    assert "pip" in names
    (python,) = [name for name in names if name.startswith("python=")]
    assert f">={python.removeprefix('python=')}" == PROJECT["project"]["requires-python"]


def test_the_extra_all_holds_every_other_extra():
    extras = PROJECT["project"]["optional-dependencies"]
    inside = extras["all"][0].split("[")[1].rstrip("]").split(",")
    assert set(inside) == set(extras) - {"all"}


def test_the_library_never_imports_the_user_interface_and_the_top_level_never_imports_torch():
    script = (
        "import sys, vintk_kit; assert 'torch' not in sys.modules, 'torch';"
        "from vintk_kit import scoring, search, correlation, benchmarks, proxies, training, data;"
        "bad = {'ipywidgets', 'IPython', 'optuna', 'distributed', 'papermill'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
