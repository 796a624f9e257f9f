"""`python -m vintk_kit.studies NAME`: runs a study and writes its table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from vintk_kit.errors import VintkError
from vintk_kit.studies import STUDIES, run_study


def main() -> None:
    """Parses the command line and runs one study."""
    parser = argparse.ArgumentParser(prog="python -m vintk_kit.studies", description=__doc__)
    parser.add_argument("name", choices=sorted(STUDIES), help="study")
    parser.add_argument("--benchmarks", type=Path, help="folder with tidy benchmark tables")
    parser.add_argument("--only", help="one benchmark of the study")
    parser.add_argument("--workers", type=int, default=0, help="processes")
    parser.add_argument("--out", type=Path, default=Path("studies"), help="folder of the resulting CSV")
    arguments = parser.parse_args()
    with tqdm(unit="row") as bar:

        def report(benchmark: str, row: dict, expected: int) -> None:
            if bar.desc != f"{benchmark}: ":
                bar.reset(expected)
                bar.set_description(benchmark)
            bar.update()

        try:
            table = run_study(
                arguments.name,
                folder=arguments.benchmarks,
                only=arguments.only,
                workers=arguments.workers,
                on_row=report,
            )
        except VintkError as error:
            sys.exit(f"error: {error}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / f"{arguments.name}{'-' + arguments.only if arguments.only else ''}.csv"
    table.round(4).to_csv(file, index=False)
    print(table[["benchmark", "proxy", "n", "tau", "low", "high", "partial"]].round(2).to_string(index=False))
    print(f"table     {file}")


if __name__ == "__main__":
    main()
