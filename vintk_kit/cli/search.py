"""`vintk score` and `vintk search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vintk_kit.cli.runs import as_text
from vintk_kit.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Space = typer.Option("autoformer-tiny", "--space", help="Search space; vintk spaces lists them.")
Proxies = typer.Option("vintk,ntk,params", "--proxies", help="Proxies, comma-separated; vintk proxies lists them.")
Data = typer.Option("photopatch", "--data", help="Data set of the probe batch; vintk datasets lists them.")
Root = typer.Option(None, "--root", help="Folder of the data files (default: $VINTK_DATA or ./data).")
ImageSize = typer.Option(None, "--image-size", help="Side of the images in pixels (default: the space's).")
BatchSize = typer.Option(32, "--batch-size", help="Images per probe batch.")
Seeds = typer.Option("0", "--seeds", help="Seeds of the initial weights, such as 0,1,2; scores are their mean.")
Init = typer.Option("shared", "--init", help="Initial weights: shared (one supernet) or independent.")
Classes = typer.Option(None, "--num-classes", help="Classes of the head (default: those of the data).")
Workers = typer.Option(
    None, "--workers", help="Processes of one thread; 0 scores in this one (default: one per core or GPU if it pays)."
)
Scheduler = typer.Option(None, "--scheduler", help="Dask scheduler instead of workers, such as tcp://10.0.0.1:8786.")
Timeout = typer.Option(None, "--timeout", help="Seconds per candidate (with workers or a scheduler).")
Seed = typer.Option(0, "--seed", help="Seed of the choice of candidates.")
Run = typer.Option(None, "--run", help="Run name; results go to runs/NAME, and a known name is resumed.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    for name, command in {
        "score": score_command,
        "search": search_command,
    }.items():
        app.command(name)(command)


def score_command(
    space: str = Space,
    proxies: str = Proxies,
    candidates: int = typer.Option(10, "--candidates", min=1, help="Random architectures to score."),
    architecture: list[str] = typer.Option(
        [], "--architecture", help="Score this one instead: JSON, or @FILE with one per line; repeatable."
    ),
    data: str = Data,
    root: Path = Root,
    image_size: int = ImageSize,
    batch_size: int = BatchSize,
    seeds: str = Seeds,
    init: str = Init,
    num_classes: int = Classes,
    workers: int = Workers,
    scheduler: str = Scheduler,
    timeout: float = Timeout,
    seed: int = Seed,
    run: str = Run,
    retry_errors: bool = typer.Option(False, "--retry-errors", help="Compute stored rows with an error again."),
    output: Path = typer.Option(None, "--output", help="Also write the table to this .csv or .parquet file."),
) -> None:
    """Score untrained networks with proxies; higher is better.

    Example: vintk score --space microvit-32 --proxies vintk,ntk,params --candidates 10
    """
    import pandas as pd

    from vintk_kit.scoring import score, wide
    from vintk_kit.scoring.interrupt import interruptible

    chosen = _architectures(space, candidates, architecture, seed)
    workers = _workers(workers, scheduler, timeout, len(chosen))
    rows = []
    with interruptible(_notify) as stop, _progress(len(chosen), "scored") as bar:
        seen: set[str] = set()
        for row in score(
            space,
            chosen,
            proxies,
            data=data,
            root=root,
            image_size=image_size,
            batch_size=batch_size,
            seeds=_integers("seeds", seeds),
            init=init,
            num_classes=num_classes,
            workers=workers,
            scheduler=scheduler,
            timeout=timeout,
            run=run,
            stop=stop,
            retry_errors=retry_errors,
        ):
            rows.append(row)
            if row["key"] not in seen:
                seen.add(row["key"])
                bar.update()
    frame = pd.DataFrame(rows)
    table = wide(frame)
    typer.echo(as_text(table.drop(columns=["space", "architecture"])))
    _report_errors(frame)
    if output is not None:
        _write_table(table, output)
    if stop.is_set():
        raise typer.Exit(130)


def search_command(
    space: str = Space,
    strategy: str = typer.Option(
        "random",
        "--strategy",
        help="random, evolution, regularized-evolution, local-search, pruning, nsga2 or tpe; options in brackets: "
        "'evolution(population=100)'.",
    ),
    candidates: int = typer.Option(100, "--candidates", help="Architectures to score, those already stored included."),
    proxies: str = Proxies,
    objective: str = typer.Option(
        None,
        "--objective",
        help="What to maximise: SPEC, max:SPEC, min:SPEC or 'rank(SPEC,SPEC)'; several, comma-separated, give a "
        "Pareto front; params and macs are made small (default: the first proxy).",
    ),
    min_params: float = typer.Option(None, "--min-params", help="Fewest parameters, such as 4e6."),
    max_params: float = typer.Option(None, "--max-params", help="Most parameters, such as 6.2e6."),
    min_macs: float = typer.Option(None, "--min-macs", help="Fewest multiply-adds per image."),
    max_macs: float = typer.Option(None, "--max-macs", help="Most multiply-adds per image."),
    min_latency: float = typer.Option(None, "--min-latency", help="Smallest raw value of the latency proxy."),
    max_latency: float = typer.Option(None, "--max-latency", help="Largest raw value of the latency proxy."),
    data: str = Data,
    root: Path = Root,
    image_size: int = ImageSize,
    batch_size: int = BatchSize,
    seeds: str = Seeds,
    init: str = Init,
    num_classes: int = Classes,
    workers: int = Workers,
    scheduler: str = Scheduler,
    timeout: float = Timeout,
    seed: int = Seed,
    run: str = Run,
    report: bool = typer.Option(True, help="Write report.html into the run folder."),
) -> None:
    """Search a space under a budget; interrupt it and run it again to go on.

    Example: vintk search --proxies vintk,ntk,params --candidates 40 --max-params 6.2e6 --run tiny
    """
    from vintk_kit.scoring.interrupt import interruptible
    from vintk_kit.search import search

    workers = _workers(workers, scheduler, timeout, candidates)
    with interruptible(_notify) as stop, _progress(candidates, "candidates") as bar:
        result = search(
            space,
            strategy=strategy,
            candidates=candidates,
            proxies=proxies,
            objectives=objective,
            min_params=min_params,
            max_params=max_params,
            min_macs=min_macs,
            max_macs=max_macs,
            min_latency=min_latency,
            max_latency=max_latency,
            data=data,
            root=root,
            image_size=image_size,
            batch_size=batch_size,
            seeds=_integers("seeds", seeds),
            init=init,
            num_classes=num_classes,
            workers=workers,
            scheduler=scheduler,
            timeout=timeout,
            seed=seed,
            run=run,
            stop=stop,
            on_row=_Counter(bar),
        )
    _show_result(result, workers)
    if result.folder is not None and report and result.winner is not None:
        from vintk_kit.plots.search import write_report

        typer.echo(f"report: {write_report(result, workers=workers)}")
    if stop.is_set():
        raise typer.Exit(130)


class _Counter:
    """Advances a progress bar at the first row of each architecture."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.key, self.errors = bar, "", 0

    def __call__(self, row: dict[str, Any]) -> None:
        if row["error"]:
            self.errors += 1
            self.bar.set_postfix_str(f"{self.errors} failed rows", refresh=False)
        if row["key"] != self.key:
            self.key = row["key"]
            self.bar.update()


def _progress(total: int, description: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=description, unit="arch", dynamic_ncols=True, delay=0.5)


def _notify(text: str) -> None:
    typer.echo(f"\n{text}", err=True)


def _integers(what: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{what}: got {text!r}; allowed: whole numbers separated by commas") from None


def _architectures(space: str, count: int, texts: list[str], seed: int) -> list[Any]:
    import numpy as np

    from vintk_kit.scoring import load_plugins
    from vintk_kit.spaces import get_space

    load_plugins()
    built = get_space(space)
    if not texts:
        rng = np.random.default_rng([seed, 7001])
        return [built.sample(rng) for _ in range(count)]
    lines: list[str] = []
    for text in texts:
        if text.startswith("@"):
            try:
                lines += [line for line in Path(text[1:]).read_text().splitlines() if line.strip()]
            except OSError as error:
                raise InputError(f"architecture: got {text} ({error.strerror}); allowed: @FILE that exists") from error
        else:
            lines.append(text)
    return [built.parse(line) for line in lines]


def _workers(given: int | None, scheduler: str | None, timeout: float | None, candidates: int) -> int:
    """The workers asked for, or as many as pay."""
    from vintk_kit.scoring import default_workers

    if given is not None or scheduler:
        return given or 0
    return max(default_workers(candidates), int(timeout is not None))


def _show_result(result: Any, workers: int) -> None:
    table = result.leaderboard.head(10).drop(columns=["space", "architecture"])
    typer.echo(as_text(table))
    if len(result.objectives) > 1:
        typer.echo(f"front: {len(result.front)} architectures")
    typer.echo(f"candidates: {result.scored} scored now, {result.reused} read from the store, {result.seconds:.1f} s")
    _report_errors(result.frame)
    if result.note:
        typer.echo(result.note)
    if result.winner is None:
        typer.echo("no winner: every candidate failed")
        return
    typer.echo(f"winner: {result.winner.to_json()}")
    if result.folder is not None:
        for name in ("architecture.json", "leaderboard.csv", "front.csv", "scores.parquet"):
            typer.echo(f"file: {result.folder / name}")


def _report_errors(frame: pd.DataFrame) -> None:
    failed = frame[frame["error"].notna()] if len(frame) else frame
    if len(failed):
        kinds = failed.groupby(["proxy", "error"]).size().sort_values(ascending=False).head(5)
        typer.echo(f"failed rows: {len(failed)} of {len(frame)}", err=True)
        for (proxy, error), count in kinds.items():
            typer.echo(f"  {count} x {proxy}: {error}", err=True)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"output: got {path}; allowed: a name that ends in .csv or .parquet")
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    typer.echo(f"file: {path}")
