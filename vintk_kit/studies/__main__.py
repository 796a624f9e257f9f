"""`python -m vintk_kit.studies NAME`: runs a study and writes its table; `figures` draws the tables that exist."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from vintk_kit.errors import DataMissingError, VintkError
from vintk_kit.manifest import environment
from vintk_kit.studies import STUDIES, load_table, run_study
from vintk_kit.studies.runner import read_table


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line and runs one study."""
    parser = argparse.ArgumentParser(prog="python -m vintk_kit.studies", description=__doc__)
    parser.add_argument("name", choices=[*sorted(STUDIES), "figures"], help="study, or figures")
    parser.add_argument("--benchmarks", type=Path, help="folder with tidy benchmark tables")
    parser.add_argument("--only", help="one benchmark of the study")
    parser.add_argument("--workers", type=int, default=0, help="processes")
    parser.add_argument("--out", type=Path, default=Path("studies"), help="folder of the tables and figures")
    chosen = parser.parse_args(arguments)
    try:
        draw(chosen.out) if chosen.name == "figures" else _run(chosen)
    except VintkError as error:
        sys.exit(f"error: {error}")


def _run(chosen: argparse.Namespace) -> None:
    with tqdm(unit="row") as bar:

        def report(benchmark: str, row: dict, expected: int) -> None:
            if bar.desc != f"{benchmark}: ":
                bar.reset(expected)
                bar.set_description(benchmark)
            bar.update()

        table = run_study(
            chosen.name, folder=chosen.benchmarks, only=chosen.only, workers=chosen.workers, on_row=report
        )  # fmt: skip
    file = keep(table.round(4), chosen.name, chosen.out)
    shown = ["benchmark", "setting", "proxy", "n", "tau", "low", "high", "partial"]
    print(table[shown].round(2).to_string(index=False))
    print(f"table     {file}")


def keep(table: pd.DataFrame, name: str, folder: Path) -> Path:
    """Writes NAME.csv, where only the benchmarks of this table are replaced, and NAME.json on how it was made.

    Args:
        table: Result of `run_study`.
        name: Study.
        folder: Where to write.

    Returns:
        Path of the CSV.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds = {benchmark: round(value) for benchmark, value in table.attrs.get("seconds", {}).items()}
    file, about = folder / f"{name}.csv", folder / f"{name}.json"
    record = json.loads(about.read_text()) if about.exists() else {"seconds": {}}
    if file.exists():
        old = read_table(file)
        table = pd.concat([old[~old["benchmark"].isin(table["benchmark"])], table], ignore_index=True)
    table.to_csv(file, index=False)
    record["seconds"] |= seconds
    command = f"python -m vintk_kit.studies {name}"
    about.write_text(json.dumps({**environment(), "command": command, "seconds": record["seconds"]}, indent=1) + "\n")
    return file


def draw(folder: Path) -> None:
    """Writes an HTML figure of tau and one of the partial tau beside each table that exists.

    Raises:
        DataMissingError: If there is no table at all.
    """
    from vintk_kit.plots.correlation import zoo_figure

    drawn = 0
    for name, study in STUDIES.items():
        try:
            table = load_table(name, folder)
        except DataMissingError:
            continue
        table["benchmark"] = (table["benchmark"] + " " + table["setting"]).str.strip()
        for value in ("tau", "partial"):
            file = folder / f"{name}-{value}.html"
            zoo_figure(table, value=value, title=study.title).write_html(file, include_plotlyjs="cdn")
            print(f"figure    {file}")
            drawn += 1
    if not drawn:
        raise DataMissingError(f"figures: got no table in {folder}; make one with: python -m vintk_kit.studies claims")


if __name__ == "__main__":
    main()
