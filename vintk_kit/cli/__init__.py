"""The `vintk` command: one Typer application, one module per area."""

from __future__ import annotations

import importlib
import sys

import typer

from vintk_kit import __version__
from vintk_kit.cli import notebooks
from vintk_kit.errors import VintkError

AREAS = ("spaces", "proxies", "search", "runs", "correlation", "training", "segmentation", "notebooks")
"""Each area is a module of this package with a function `register(app)`."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vintk_kit {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Builds the application; torch is not imported until a command needs it."""
    app = typer.Typer(
        name="vintk",
        help="Training-free architecture search of Vision Transformers.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=_show_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Training-free architecture search of Vision Transformers.

        Start with: vintk spaces, vintk proxies, vintk notebooks run 00_tour.
        """

    for area in AREAS:
        importlib.import_module(f"vintk_kit.cli.{area}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Bad input ends with one line on stderr and exit code 2, an interrupt with 130; neither shows a traceback.

    Args:
        arguments: The words after `vintk`; by default those of the process.
    """
    try:
        words = sys.argv[1:] if arguments is None else arguments
        build_app()(notebooks.join_parameters(words) if words[:1] == ["notebooks"] else words)
    except VintkError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
