"""`vintk segment train`, `evaluate`, `predict`, `score` and `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

Root = typer.Option(None, "--root", help="Folder of the data files (default: $VINTK_DATA or ./data).")
Data = typer.Option("bluemarble", "--data", help="Dense data set; vintk segment datasets lists them.")
Seed = typer.Option(0, "--seed", help="Seed.")
Scales = typer.Option("1", "--scales", help="Factors of multi-scale inference, as 0.75,1,1.25.")
Flip = typer.Option(False, "--flip", help="Also predict mirror images.")
Window = typer.Option(None, "--window", help="Sliding windows, as HEIGHTxWIDTH (default: whole images).")


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    group = typer.Typer(help="Dense prediction: train, evaluate, predict, score, data sets.", no_args_is_help=True)
    group.command("train")(train_command)
    group.command("evaluate")(evaluate_command)
    group.command("predict")(predict_command)
    group.command("score")(score_command)
    group.command("datasets")(datasets_command)
    app.add_typer(group, name="segment")


def train_command(
    architecture: str = typer.Argument(
        None, help="JSON, @FILE, or a run folder or name with architecture.json (default: a random one)."
    ),
    space: str = typer.Option(None, "--space", help="Search space (default: the architecture's, else hybrid-hr)."),
    data: str = Data,
    preset: str = typer.Option("smoke", "--preset", help="smoke, bluemarble, cityscapes or ade20k."),
    option: list[str] = typer.Option([], "-o", "--option", metavar="NAME=VALUE", help="Recipe option; repeatable."),
    run: str = typer.Option("segment", "--run", help="Results go to runs/NAME; a known name is resumed."),
    device: str = typer.Option(None, "--device", help="cpu, cuda or cuda:N."),
    root: Path = Root,
    seed: int = Seed,
) -> None:
    """Train a segmentation network; resumes from the last checkpoint of the run.

    Several processes: torchrun --nproc-per-node 8 -m vintk_kit segment train ...
    """
    import numpy as np
    from tqdm import tqdm

    from vintk_kit.cli.training import architecture_text, space_of
    from vintk_kit.segmentation import make_dense_recipe, train_dense
    from vintk_kit.segmentation.recipe import parse_dense_options
    from vintk_kit.spaces import get_space

    recipe = make_dense_recipe(preset, **parse_dense_options(option))
    if architecture is None:
        found = get_space(space or "hybrid-hr")
        arch = found.sample(np.random.default_rng(seed))
    else:
        text = architecture_text(architecture)
        found = get_space(space or space_of(text))
        arch = found.parse(text)
    with tqdm(total=recipe.epochs, unit="epoch") as bar:

        def show(row: dict[str, Any]) -> None:
            bar.update(row["epoch"] - bar.n)
            measured = row["val_miou"]
            bar.set_postfix_str(
                f"loss {row['train_loss']:.3f}" + ("" if measured is None else f", validation mIoU {measured:.3f}")
            )

        result = train_dense(
            found, arch, data=data, preset=recipe, run=run, seed=seed, on_epoch=show, device=device, root=root
        )
    if result.interrupted:
        typer.echo(f"stopped after {len(result.history)} epochs; the same command resumes")
        raise typer.Exit(143)
    for name, found in result.test.items():
        typer.echo(
            f"test mIoU {found['miou']:.4f}   pixel accuracy {found['accuracy']:.4f}   ({name}: epoch {found['epoch']})"
        )
    typer.echo(f"run       {result.folder}")


def evaluate_command(
    run: str = typer.Argument(..., help="Run name, run folder or .safetensors file."),
    data: str = typer.Option(None, "--data", help="Data set (default: the one of the training)."),
    split: str = typer.Option("test", "--split", help="test or train."),
    scales: str = Scales,
    flip: bool = Flip,
    window: str = Window,
    limit: int = typer.Option(None, "--limit", min=1, help="At most so many images."),
    root: Path = Root,
    output: Path = typer.Option(None, "--output", help="Write the table per class to this .csv file."),
) -> None:
    """Evaluate a trained network: mIoU, pixel accuracy, IoU per class."""
    from vintk_kit.segmentation import evaluate_dense

    found = evaluate_dense(run, data=data, split=split, root=root, limit=limit, **_inference(scales, flip, window))
    typer.echo(
        f"mIoU {found.miou:.4f}   pixel accuracy {found.pixel_accuracy:.4f}   loss {found.loss:.4f}   "
        f"{found.images} images"
    )
    typer.echo(found.table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    if output is not None:
        found.table.to_csv(output, index=False)


def predict_command(
    run: str = typer.Argument(..., help="Run name, run folder or .safetensors file."),
    images: list[Path] = typer.Argument(..., help="Image files, or folders of them."),
    output: Path = typer.Option(Path("masks"), "--output", help="Folder for the masks, and for overlay.html."),
    scales: str = Scales,
    flip: bool = Flip,
    window: str = Window,
) -> None:
    """Predict masks of images: PNGs of class numbers, and a page that shows them over the images."""
    from vintk_kit.plots.segmentation import overlay_figure
    from vintk_kit.segmentation import load_dense
    from vintk_kit.segmentation.pairs import read_image
    from vintk_kit.segmentation.predict import predict_files

    network, facts = load_dense(run)
    shown, masks, classes = [], [], facts["classes"]
    for path, target, mask in predict_files(network, facts, images, output, **_inference(scales, flip, window)):
        shares = [((mask == index).mean(), name) for index, name in enumerate(classes)]
        best = ", ".join(f"{name} {share:.0%}" for share, name in sorted(shares, reverse=True)[:3] if share)
        typer.echo(f"{target}  {best}")
        if len(shown) < 20:
            shown.append(read_image(path))
            masks.append(mask)
    figure = overlay_figure(shown, {"prediction": masks}, classes, facts["colours"])
    figure.write_html(output / "overlay.html", include_plotlyjs=True)
    typer.echo(f"{output / 'overlay.html'}")


def score_command(
    space: str = typer.Option("hybrid-hr", "--space", help="Search space; vintk spaces lists them."),
    proxies: str = typer.Option("vintk,ntk,params", "--proxies", help="Proxies, separated by commas."),
    count: int = typer.Option(8, "--count", min=1, help="Random architectures."),
    data: str = Data,
    batch_size: int = typer.Option(16, "--batch-size", min=2, help="Crops that the proxies see."),
    size: int = typer.Option(64, "--size", help="Side of the crops, a multiple of 32."),
    workers: int = typer.Option(0, "--workers", min=0, help="Worker processes."),
    run: str = typer.Option(None, "--run", help="Keep rows in runs/NAME."),
    root: Path = Root,
    seed: int = Seed,
) -> None:
    """Score untrained dense networks on crops of a data set with masks."""
    import numpy as np
    import pandas as pd
    from tqdm import tqdm

    from vintk_kit.scoring import score, wide
    from vintk_kit.segmentation import dense_probe
    from vintk_kit.spaces import get_space

    found, rng = get_space(space), np.random.default_rng(seed)
    batch = dense_probe(data, n=batch_size, size=size, seed=seed, root=root)
    archs = [found.sample(rng) for _ in range(count)]
    rows = score(space, archs, proxies, data=batch, seeds=seed, workers=workers, run=run)
    table = wide(pd.DataFrame(list(tqdm(rows, unit="row"))))
    first = next((name for name in table.columns if name not in ("key", "space", "architecture", "params", "macs")), "")
    table = table.sort_values(first, ascending=False) if first else table
    typer.echo(table.drop(columns=["architecture", "space"]).to_string(index=False))


def datasets_command(root: Path = Root) -> None:
    """List dense data sets, what of them is here, and how to get them."""
    from vintk_kit.segmentation import dense_table

    typer.echo(dense_table(root).to_string(index=False, na_rep="-"))


def _inference(scales: str, flip: bool, window: str | None) -> dict[str, Any]:
    from vintk_kit.errors import bad_value

    options: dict[str, Any] = {"flip": flip}
    try:
        options["scales"] = tuple(float(part) for part in scales.split(","))
    except ValueError as error:
        raise bad_value("scales", scales, "numbers separated by commas, as 0.75,1,1.25") from error
    if window is not None:
        height, _, width = window.partition("x")
        if not (height.isdigit() and width.isdigit()):
            raise bad_value("window", window, "HEIGHTxWIDTH, as 512x1024")
        options["window"] = (int(height), int(width))
    return options
