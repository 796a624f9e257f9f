"""`vintk proxies`: the table of all proxies."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def proxies(options: bool = typer.Option(False, "--options", help="Show the options with their defaults.")) -> None:
        """List all proxies: what each needs, what it costs in forward-backward passes of one batch, where it is from.

        Use them as --proxies "vintk(low=4),ntk,snip", or --proxies all.
        """
        from vintk_kit.proxies import proxy_table

        table = proxy_table()
        names = ["name", "family", "needs", "cost", *(["options"] if options else []), "source"]
        widths = {name: max(len(name), *table[name].astype(str).str.len()) for name in names}
        for row in ({name: name for name in names}, *table[names].to_dict("records")):
            typer.echo("  ".join(str(row[name]).ljust(widths[name]) for name in names).rstrip())
