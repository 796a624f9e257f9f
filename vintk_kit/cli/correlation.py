"""`vintk correlate` and `vintk benchmark`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Adds `correlate` and the `benchmark` group."""
    app.command("correlate")(correlate_command)
    group = typer.Typer(no_args_is_help=True, help="Architectures with trained accuracy.")
    group.command("list")(list_benchmarks)
    group.command("get")(get)
    group.command("import")(import_file)
    group.command("build")(build)
    group.command("show")(show)
    app.add_typer(group, name="benchmark")


def correlate_command(
    benchmark: str = typer.Option(..., help="Benchmark: see `vintk benchmark list`; or your own CSV, with --space."),
    proxies: str = typer.Option("vintk,ntk,params", help="Comma-separated proxies: see `vintk proxies`."),
    path: Path = typer.Option(None, help="File of the benchmark, if it is not found by its name."),
    space: str = typer.Option(None, help="Search space of your own CSV of columns architecture and accuracy."),
    candidates: int = typer.Option(None, help="A random part of the architectures."),
    target: str = typer.Option(None, help="Accuracy column."),
    image_size: int = typer.Option(None, help="Side of the probe images in pixels."),
    batch_size: int = typer.Option(None, help="Number of probe images N."),
    data: str = typer.Option("photopatch", help="Data set of the probe images."),
    seeds: int = typer.Option(1, help="Number of initialisations; scores are averaged."),
    init: str = typer.Option("shared", help="Initial weights: shared or independent."),
    workers: int = typer.Option(None, help="Processes; 0 scores in this one (default: one per core if it pays)."),
    seed: int = typer.Option(0, help="Seed of the choice of architectures and of the bootstrap."),
    run: str = typer.Option(None, help="Run folder: keeps rows, resumes, receives correlation.csv."),
) -> None:
    """Correlate scores of untrained networks with trained accuracy, with intervals."""
    import pandas as pd
    from tqdm import tqdm

    from vintk_kit.correlation import benchmark_rows, chosen, judge
    from vintk_kit.errors import one_of
    from vintk_kit.paths import run_folder
    from vintk_kit.scoring import default_workers
    from vintk_kit.specs import parse_spec, split_specs

    loaded = _loaded(benchmark, path, space, target)
    target = one_of("target", target or loaded.target, loaded.accuracies)
    names = list(dict.fromkeys([*(str(parse_spec(text)) for text in split_specs(proxies)), "params"]))
    sizes = {name: value for name, value in (("image_size", image_size), ("batch_size", batch_size)) if value}
    count = len(chosen(loaded, candidates, seed))
    source = benchmark_rows(
        loaded, names, n=candidates, seed=seed, data=data, seeds=tuple(range(seeds)), init=init, run=run,
        workers=default_workers(count) if workers is None else workers, **sizes,
    )  # fmt: skip
    total = count * len(names) * seeds
    rows = pd.DataFrame(tqdm(source, total=total, desc="scores", unit="row"))
    table = judge(loaded, rows, target=target, seed=seed)
    failed = rows[rows["error"].notna()]
    typer.echo(f"{loaded.name}: {table['n'].max()} architectures, target {target}")
    typer.echo(_text(table))
    for proxy, error in failed.groupby("proxy")["error"].first().items():
        typer.echo(f"{proxy}: {(failed['proxy'] == proxy).sum()} rows failed, first: {error}", err=True)
    if run:
        file = run_folder(run) / "correlation.csv"
        table.to_csv(file, index=False)
        typer.echo(f"table     {file}")


def _loaded(benchmark: str, path: Path | None, space: str | None, target: str | None = None):
    from vintk_kit.benchmarks import get_benchmark, own_benchmark

    return own_benchmark(path or benchmark, space, target=target) if space else get_benchmark(benchmark, path)


def _text(table) -> str:
    shown = table[["proxy", "n"]].copy()

    def interval(*columns: str) -> list[str]:
        return ["" if v != v else f"{v:+.2f} [{a:+.2f}, {b:+.2f}]" for v, a, b in table[list(columns)].to_numpy()]

    shown["tau"] = interval("tau", "low", "high")
    shown["tau given params"] = interval("partial", "partial_low", "partial_high")
    shown["over params"] = interval("over_control", "over_control_low", "over_control_high")
    if "over_baseline" in table:
        shown["over ntk"] = interval("over_baseline", "over_baseline_low", "over_baseline_high")
    shown["spearman"] = table["spearman"].round(2)
    return shown.to_string(index=False)


def list_benchmarks() -> None:
    """List the benchmarks and whether their files are here."""
    from vintk_kit.benchmarks import benchmark_table

    typer.echo(benchmark_table().to_string(index=False))


def get(
    name: str = typer.Argument(..., help="Benchmark name."),
    url: str = typer.Option(None, help="Another address of the same file."),
) -> None:
    """Download a public benchmark; a download that was cut off is resumed."""
    from vintk_kit.benchmarks import BENCHMARKS, fetch
    from vintk_kit.errors import one_of

    typer.echo(fetch(BENCHMARKS[one_of("benchmark", name, BENCHMARKS)], url=url))


def import_file(
    name: str = typer.Argument(..., help="Benchmark name."), path: Path = typer.Argument(..., help="Its file.")
) -> None:
    """Check a benchmark file that is already on disk and copy it into the cache."""
    import shutil

    from vintk_kit.benchmarks import BENCHMARKS, get_benchmark
    from vintk_kit.benchmarks.fetch import cache_folder

    loaded = get_benchmark(name, path)
    cache_folder().mkdir(parents=True, exist_ok=True)
    entry = BENCHMARKS[name]
    if path.suffix == Path(entry.file).suffix:
        typer.echo(f"{len(loaded)} architectures -> {shutil.copy(path, cache_folder() / entry.file)}")
    else:
        typer.echo(f"{len(loaded)} architectures read; use it with --path {path} (not the official format, not copied)")


def build(
    run: str = typer.Option("microvit-photopatch", help="Run folder; the same name resumes."),
    space: str = typer.Option("microvit-32", help="Search space."),
    data: str = typer.Option("photopatch", help="Data set."),
    architectures: int = typer.Option(150, help="Number of architectures."),
    repeated: int = typer.Option(12, help="Architectures trained with three seeds."),
    epochs: float = typer.Option(2, help="Passes over the training images; may be a fraction."),
    max_macs: float = typer.Option(9e6, help="Cost limit per image."),
    seed: int = typer.Option(0, help="Seed of the choice of architectures."),
    workers: int = typer.Option(2, help="Processes of one thread each."),
    out: Path = typer.Option(None, help="CSV to write the finished table to; a JSON on how it was made lies beside."),
) -> None:
    """Train architectures of a small space from scratch into a benchmark of your own."""
    from tqdm import tqdm

    from vintk_kit.benchmarks.build import build_benchmark, publish
    from vintk_kit.paths import run_folder

    folder = run_folder(run)
    with tqdm(desc="trainings") as bar:

        def report(row: dict, done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        frame = build_benchmark(
            folder, space=space, data=data, n=architectures, repeated=repeated, epochs=epochs, max_macs=max_macs,
            seed=seed, workers=workers, on_row=report,
        )  # fmt: skip
    typer.echo(f"{frame['key'].nunique()} architectures, {len(frame)} trainings -> {folder / 'trainings.csv'}")
    if out:
        typer.echo(f"{out}: {publish(folder, out)['noise']}")


def show(
    name: str = typer.Argument(..., help="Benchmark name, or your own CSV with --space."),
    path: Path = typer.Option(None, help="Its file."),
    space: str = typer.Option(None, help="Search space of your own CSV."),
) -> None:
    """Print what is known of a benchmark: size, accuracy range, protocol, noise, defects."""
    loaded = _loaded(name, path, space)
    typer.echo(f"{loaded.name}: {len(loaded)} architectures of {loaded.space}, target {loaded.target}")
    typer.echo(loaded.frame[list(loaded.accuracies)].describe().round(3).to_string())
    for key, value in loaded.metadata.items():
        typer.echo(f"{key}: {value}")
