"""From benchmark to table: the rows are scored once, stored, and judged."""

import numpy as np
import pytest

from vintk_kit.benchmarks import own_benchmark
from vintk_kit.correlation import benchmark_rows, chosen, correlate, judge
from vintk_kit.errors import InputError
from vintk_kit.spaces import get_space


@pytest.fixture
def tiny(tmp_path):
    """Twelve architectures whose accuracy is their size plus noise."""
    space, rng = get_space("microvit-32"), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(12)]
    lines = ["architecture,accuracy"]
    for arch in archs:
        text = arch.to_json().replace('"', '""')
        lines.append(f'"{text}",{20 * np.log10(space.params(arch)) - 40 + rng.normal():.3f}')
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines))
    return own_benchmark(path, "microvit-32")


def test_correlate_judges_against_params(tiny):
    table = correlate(tiny, "depth", image_size=32, batch_size=4, resamples=50).set_index("proxy")
    assert set(table.index) == {"depth", "params"}
    assert table.loc["params", "tau"] > 0.6
    assert table.loc["params", "over_control"] == 0


def test_a_part_is_random_and_the_same_for_one_seed(tiny):
    assert list(chosen(tiny, 5, 1)["key"]) == list(chosen(tiny, 5, 1)["key"])
    assert set(chosen(tiny, 5, 1)["key"]) != set(chosen(tiny, 5, 2)["key"])
    with pytest.raises(InputError, match="at least 3"):
        chosen(tiny, 2)


def test_rows_are_kept_in_a_run_and_judged_again_without_scoring(tiny, tmp_path):
    import pandas as pd

    options = {"image_size": 32, "batch_size": 4, "run": tmp_path / "run"}
    first = list(benchmark_rows(tiny, ["params"], **options))
    second = list(benchmark_rows(tiny, ["params"], **options))
    assert [row["score"] for row in first] == [row["score"] for row in second]
    assert len(judge(tiny, pd.DataFrame(first), resamples=20)) == 1
