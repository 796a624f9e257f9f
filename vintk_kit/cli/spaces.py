"""`vintk spaces`: all search spaces, or one in detail."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def spaces(name: str = typer.Argument(None, help="A space or spec, such as pit-ti(grid='full').")) -> None:
        """List the search spaces, or show the choices and published architectures of one."""
        _one(name) if name else _all()


def _all() -> None:
    from vintk_kit.spaces import SPACES, get_space

    typer.echo(f"{'name':24s} {'architectures':>14s} {'px':>4s}  reference")
    for name in SPACES:
        if name == "timm":
            typer.echo(f"{name:24s} {'any':>14s} {'':>4s}  timm(names=('deit_tiny_patch16_224', ...)): any timm models")
            continue
        space = get_space(name)
        typer.echo(f"{name:24s} {_count(space.size()):>14s} {space.image_size:4d}  {space.reference}")


def _one(name: str) -> None:
    from vintk_kit.spaces import get_space

    space = get_space(name)
    typer.echo(f"{space.name}: {space.size():,} architectures, {space.image_size} px, {space.num_classes} classes")
    typer.echo(f"{space.reference}\n")
    typer.echo(space.describe().to_string(index=False))
    published = space.published()
    if published:
        typer.echo("\npublished architectures")
    for label, arch in published.items():
        outside = "" if space.contains(arch) else "  (outside the table)"
        typer.echo(f"  {label:16s} {space.params(arch):>12,} parameters{outside}\n    {arch.to_json()}")


def _count(size: int) -> str:
    return f"{size:,}" if size < 10**9 else f"{size:.3g}"
