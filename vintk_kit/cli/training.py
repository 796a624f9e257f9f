"""`vintk train`, `evaluate`, `supernet` and `export-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vintk_kit.errors import DataMissingError, InputError

Root = typer.Option(None, "--root", help="Folder of the data files (default: $VINTK_DATA or ./data).")
Space = typer.Option("microvit-32", "--space", help="Search space; vintk spaces lists them.")
Data = typer.Option("photopatch", "--data", help="Data set; vintk datasets lists them.")
Seed = typer.Option(0, "--seed", help="Seed of weights, order and augmentation.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)
    app.command("supernet")(supernet_command)
    app.command("export-model")(export_command)


def train_command(
    architecture: str = typer.Argument(..., help="JSON, @FILE, or a run folder or name with architecture.json."),
    space: str = typer.Option(None, "--space", help="Search space (default: the one the architecture names)."),
    data: str = Data,
    preset: str = typer.Option("smoke", "--preset", help="smoke, cifar or imagenet-deit."),
    option: list[str] = typer.Option([], "-o", "--option", metavar="NAME=VALUE", help="Recipe option; repeatable."),
    weights: Path = typer.Option(None, "--weights", help="Trained supernet to start from (vintk supernet)."),
    run: str = typer.Option("train", "--run", help="Results go to runs/NAME; a known name is resumed."),
    device: str = typer.Option(None, "--device", help="cpu, cuda or cuda:N."),
    root: Path = Root,
    seed: int = Seed,
) -> None:
    """Train one architecture; resumes from the last checkpoint of the run.

    Several processes: torchrun --nproc-per-node 8 -m vintk_kit train ...
    """
    from tqdm import tqdm

    from vintk_kit.spaces import get_space
    from vintk_kit.training import make_recipe, train
    from vintk_kit.training.recipe import parse_options
    from vintk_kit.training.supernet import load_supernet

    options = parse_options(option)
    recipe = make_recipe(preset, **options)
    text = architecture_text(architecture)
    found = get_space(space or space_of(text))
    with tqdm(total=recipe.epochs, unit="epoch") as bar:

        def show(row: dict[str, Any]) -> None:
            bar.update(row["epoch"] - bar.n)
            measured = row["val_accuracy"]
            bar.set_postfix_str(
                f"loss {row['train_loss']:.3f}" + ("" if measured is None else f", validation {measured:.1%}")
            )

        result = train(
            found, found.parse(text), data=data, preset=recipe, run=run, seed=seed, on_epoch=show, device=device,
            weights=None if weights is None else load_supernet(weights), root=root,
        )  # fmt: skip
    if result.interrupted:
        typer.echo(f"stopped after {len(result.history)} epochs; the same command resumes")
        raise typer.Exit(143)
    kept, last = result.test["kept"], result.test["last"]
    typer.echo(
        f"test accuracy  {kept['accuracy']:.4f} (kept epoch {kept['epoch']})   {last['accuracy']:.4f} (last epoch)"
    )
    typer.echo(f"run            {result.folder}")


def evaluate_command(
    run: str = typer.Argument(..., help="Run name, run folder or .safetensors file."),
    data: str = typer.Option(None, "--data", help="Data set (default: the one of the training)."),
    split: str = typer.Option("test", "--split", help="test or train."),
    root: Path = Root,
    output: Path = typer.Option(None, "--output", help="Write the confusion matrix to this .csv file."),
) -> None:
    """Evaluate a trained network: accuracy and confusion matrix."""
    from vintk_kit.training.evaluate import evaluate

    found = evaluate(run, data=data, split=split, root=root)
    typer.echo(f"accuracy {found.accuracy:.4f}   top-5 {found.top5:.4f}   loss {found.loss:.4f}")
    typer.echo(found.confusion.to_string())
    if output is not None:
        found.confusion.to_csv(output)


def supernet_command(
    space: str = Space,
    data: str = Data,
    epochs: int = typer.Option(10, "--epochs", min=1, help="Passes over the training split."),
    lr: float = typer.Option(1e-3, "--lr", help="Peak learning rate."),
    subnets: int = typer.Option(20, "--subnets", min=0, help="Random subnets to evaluate afterwards."),
    run: str = typer.Option("supernet", "--run", help="Results go to runs/NAME."),
    root: Path = Root,
    seed: int = Seed,
) -> None:
    """Train a supernet by weight entanglement and list one-shot accuracies of random subnets."""
    import numpy as np

    from vintk_kit.paths import run_folder
    from vintk_kit.spaces import get_space
    from vintk_kit.training.supernet import one_shot, train_supernet

    found, folder = get_space(space), run_folder(run)
    trained = train_supernet(
        found, data=data, epochs=epochs, lr=lr, seed=seed, root=root, run=folder,
        on_epoch=lambda row: typer.echo(f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, {row['seconds']:.0f} s"),
    )  # fmt: skip
    rng = np.random.default_rng([seed, 13])
    table = one_shot(found, trained, [found.sample(rng) for _ in range(subnets)], data=data, root=root)
    if len(table):
        table.to_csv(folder / "one_shot.csv", index=False)
        typer.echo(table.drop(columns="architecture").to_string(index=False))
    typer.echo(f"weights   {folder / 'supernet.safetensors'}")


def export_command(
    run: str = typer.Argument(..., help="Run name, run folder or .safetensors file."),
    output: Path = typer.Argument(..., help="File to write."),
    kind: str = typer.Option("onnx", "--kind", help="onnx, torch-export or torchscript."),
) -> None:
    """Export a trained network and check the file against it."""
    from vintk_kit.training.export import export_network
    from vintk_kit.training.models import load_trained

    network, facts = load_trained(run)
    difference = export_network(network, output, kind=kind, image_size=facts["image_size"])
    typer.echo(f"{output}: largest relative difference {difference:.2g}")


def architecture_text(given: str) -> str:
    """JSON of an architecture that was given as JSON, @FILE, run folder or run name."""
    from vintk_kit.paths import runs_root

    if given.lstrip().startswith("{"):
        return given
    if given.startswith("@"):
        path = Path(given[1:])
    else:
        path = next((p for p in (runs_root() / given, Path(given)) if p.is_dir()), Path(given)) / "architecture.json"
    if not path.is_file():
        raise DataMissingError(f"architecture: got {given!r} (no file {path}); allowed: JSON, @FILE or a run")
    return path.read_text()


def space_of(text: str) -> str:
    """The space that the JSON of an architecture names."""
    import json

    try:
        return json.loads(text)["space"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError('architecture: names no space; allowed: --space NAME, or JSON with "space"') from error
