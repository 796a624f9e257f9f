"""How the cost of a kernel grows with the samples N and the tokens T: `python benchmarks/scaling.py`.

AutoFormer-Tiny at 32 px. Milliseconds per sample and token stay level where cost is linear; what grows with N is the
share of products of gradients with gradients. Writes scaling.csv beside itself; takes about two minutes.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import Case  # noqa: E402
from kernel import gram_share, methods_of  # noqa: E402
from measure import interleaved, machine, ratio  # noqa: E402

SAMPLES = (8, 16, 32, 64, 128)
PATCHES = (8, 4, 2)
ROUNDS = 3


def measure(samples: int, patch_size: int) -> dict[str, float]:
    """Returns one row: cost of kernel and forward-backward, and the share that grows with N²."""
    network, images = Case("", "autoformer-tiny", 32, samples=samples, patch_size=patch_size).build()
    methods, _ = methods_of(network, images)
    share, _ = gram_share(network, images)
    seconds = interleaved({name: methods[name] for name in ("fb", "kernel")}, ROUNDS, warm=False)
    tokens = (32 // patch_size) ** 2 + 1
    each = {name: 1e3 * statistics.median(taken) / samples / tokens for name, taken in seconds.items()}
    return {
        "N": samples,
        "T": tokens,
        "kernel / fb": ratio(seconds, "kernel"),
        "kernel, ms per sample and token": each["kernel"],
        "fb, ms per sample and token": each["fb"],
        "share of N²": share,
    }


def main() -> None:
    """Measures, prints and writes."""
    print(machine(), flush=True)
    sizes = [(samples, 4) for samples in SAMPLES] + [(16, patch) for patch in PATCHES if patch != 4]
    table = pd.DataFrame([measure(*size) for size in sizes]).round(4)
    table.to_csv(HERE / "scaling.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
