"""Commands on runs and data that exist: compare, report, export, datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import pandas as pd


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("compare")(compare_command)
    app.command("report")(report_command)
    app.command("export")(export_command)
    app.command("datasets")(datasets_command)


def compare_command(runs: list[str] = typer.Argument(..., help="Run names or folders, at least two.")) -> None:
    """Compare searches: summary per run, agreement of the scores they share."""
    from vintk_kit.paths import run_folder
    from vintk_kit.search.compare import compare_runs

    summary, overlap = compare_runs([run_folder(name, create=False) for name in runs])
    typer.echo(as_text(summary.set_index("run").T, index=True))
    typer.echo("\nsame architectures in both runs:")
    typer.echo(as_text(overlap))


def report_command(run: str = typer.Argument(..., help="Run name or folder of a search.")) -> None:
    """Write report.html of a search: figures and tables in one file that reads offline."""
    from vintk_kit.paths import run_folder
    from vintk_kit.plots.search import write_report
    from vintk_kit.search import load_result

    typer.echo(f"report: {write_report(load_result(run_folder(run, create=False)))}")


def export_command(
    run: str = typer.Argument(..., help="Run name or folder."),
    format: str = typer.Option("parquet", "--format", help="parquet or csv."),
    output: Path = typer.Option(None, "--output", help="Target file (default: scores.FORMAT in the run folder)."),
) -> None:
    """Write all rows of a run to one Parquet or CSV file; works while the run goes on."""
    from vintk_kit.paths import run_folder
    from vintk_kit.store import Store

    with Store(run_folder(run, create=False), readonly=True) as store:
        typer.echo(f"rows: {len(store)}; file: {store.export(output, format=format)}")


def datasets_command(
    root: Path = typer.Option(None, "--root", help="Folder of the data files (default: $VINTK_DATA or ./data)."),
    download: str = typer.Option(None, "--download", help="Download this data set into the root folder first."),
) -> None:
    """List the data sets, whether they are here, and how to get them."""
    from vintk_kit.data import dataset_table
    from vintk_kit.data import download as fetch

    if download:
        typer.echo(f"downloaded {download} to {fetch(download, root)}")
    table = dataset_table(root)
    typer.echo(as_text(table[["name", "classes", "image_size", "available", "summary"]]))
    for row in table[~table["available"]].itertuples():
        typer.echo(f"{row.name}: {row.how}")


def as_text(table: pd.DataFrame, index: bool = False) -> str:
    """A table as text, with six digits."""
    return table.to_string(index=index, float_format=lambda value: f"{value:.6g}", na_rep="-")
