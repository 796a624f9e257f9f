"""Official formats, tidy tables, downloads with a server, and the errors of broken files."""

import functools
import http.server
import json
import threading

import pytest

from vintk_kit.benchmarks import BENCHMARKS, Entry, fetch, get_benchmark, own_benchmark
from vintk_kit.benchmarks.build import build_benchmark, choose_architectures, publish, read_trainings
from vintk_kit.errors import DataMissingError, InputError, StoreError
from vintk_kit.spaces import get_space


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_ood_vit_nas_format(benchmark_csv, size):
    path = benchmark_csv(f"official/1k_Vit_Architecture_from_AutoFM_{size}.first25.json")
    benchmark = get_benchmark(f"autoformer-{size}-imagenet", path)
    stated = [entry["params"] for entry in json.loads(path.read_text()).values()]
    assert len(benchmark) == len(stated) >= 20
    assert (benchmark.frame["params"] / 1e6).round(6).tolist() == pytest.approx(stated)
    assert benchmark.frame[benchmark.target].between(70, 90).all()


@pytest.mark.parametrize(("kind", "file"), [("autoformer", "gt_autoformer"), ("pit", "gt_pit")])
def test_vit_bench_101_format_is_read_without_running_code(benchmark_csv, kind, file):
    benchmark = get_benchmark(f"vit-bench-101-{kind}", benchmark_csv(f"official/{file}.first20.pth"))
    assert len(benchmark) == 20
    assert {"c100_base", "c100_kd", "flower_base"} <= set(benchmark.accuracies)
    assert "imagenet_super" not in " ".join(benchmark.accuracies)


@pytest.mark.parametrize(
    ("name", "file", "rows"),
    [
        ("autoformer-tiny-imagenet", "autoformer_tiny_imagenet.csv", 500),
        ("vit-bench-101-autoformer", "autoformer_tiny_scratch.csv", 100),
        ("vit-bench-101-pit", "pit_scratch.csv", 50),
    ],
)
def test_tidy_tables(benchmark_csv, name, file, rows):
    benchmark = get_benchmark(name, benchmark_csv(file))
    assert len(benchmark) == rows
    assert benchmark.frame["key"].is_unique


def test_nasbench201_table(benchmark_csv, tmp_path):
    head = benchmark_csv("nasbench201.csv").read_text().splitlines()[:40]
    path = tmp_path / "part.csv"
    path.write_text("\n".join(head))
    benchmark = get_benchmark("nasbench201", path)
    assert benchmark.accuracies == ("cifar10", "cifar100", "imagenet16")


@pytest.mark.parametrize("name", ["microvit-photopatch", "microvit-fashion"])
def test_our_own_benchmarks_ship_and_know_their_noise(name):
    benchmark = get_benchmark(name)
    assert len(benchmark) >= 150
    assert {"command", "seed_noise", "protocol"} <= set(benchmark.metadata)
    assert benchmark.metadata["seed_noise"] < benchmark.frame["accuracy"].std()


def test_missing_files_say_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.setenv("VINTK_BENCHMARKS", str(tmp_path))
    with pytest.raises(DataMissingError, match=r"vintk benchmark get autoformer-tiny-imagenet"):
        get_benchmark("autoformer-tiny-imagenet")
    with pytest.raises(DataMissingError, match=r"put nasbench201.csv .* into "):
        get_benchmark("nasbench201")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ('{"0": {"performance": {}}}', "row 0: field 'net_setting' is missing"),
        ('{"7": {"net_setting": {"layer_num": 12, "mlp_ratio": [4], "num_heads": [3], "embed_dim": [192]},'
         ' "performance": {"Imagenet": {"clean": 75}}}}', "row 0: .*num_heads"),
    ],
)  # fmt: skip
def test_broken_json_names_row_and_field(tmp_path, text, message):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        get_benchmark("autoformer-tiny-imagenet", path)


def test_broken_pth_and_csv_are_refused(tmp_path):
    pth = tmp_path / "x.pth"
    pth.write_bytes(b"not a file of torch")
    with pytest.raises(InputError, match="not a ViT-Bench-101 file"):
        get_benchmark("vit-bench-101-pit", pth)
    csv = tmp_path / "x.csv"
    csv.write_text("architecture,accuracy\n{},50\n")
    with pytest.raises(InputError, match="row 0: architecture"):
        own_benchmark(csv, "microvit-32")
    arch = get_space("microvit-32").sample(__import__("numpy").random.default_rng(0)).to_json().replace('"', '""')
    csv.write_text(f'architecture,accuracy\n"{arch}",150\n')
    with pytest.raises(InputError, match=r"row 0: accuracy: got 150.*percentage"):
        own_benchmark(csv, "microvit-32")
    csv.write_text(f'architecture,name\n"{arch}",x\n')
    with pytest.raises(InputError, match="target"):
        own_benchmark(csv, "microvit-32")


class CutOff(http.server.SimpleHTTPRequestHandler):
    """Serves ranges; the first answer ends half-way."""

    cut = True

    def do_GET(self):
        content = (__import__("pathlib").Path(self.directory) / self.path.lstrip("/")).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").split("=")[1].rstrip("-"))
        if start >= len(content):
            type(self).starts.append(start)
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) // 2 if type(self).cut else len(content)
        type(self).cut = False
        type(self).starts.append(start)
        self.wfile.write(content[start:end])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "table.csv").write_bytes(b"0123456789" * 20_000)
    CutOff.cut, CutOff.starts = True, []
    handler = functools.partial(CutOff, directory=str(folder))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/table.csv"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def entry(digest: str) -> Entry:
    return Entry("x", "microvit-32", lambda path: [], "table.csv", None, digest, "accuracy", 10, (), {})


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cut_off_download_is_resumed(server, tmp_path):
    import hashlib

    digest = hashlib.sha256(b"0123456789" * 20_000).hexdigest()
    with pytest.raises(DataMissingError, match="could not be read"):
        fetch(entry(digest), url=server, folder=tmp_path / "cache")
    path = fetch(entry(digest), url=server, folder=tmp_path / "cache")
    assert path.read_bytes() == b"0123456789" * 20_000
    assert CutOff.starts[0] == 0
    assert CutOff.starts[1] > 0, "the second request asked for the rest only"
    assert fetch(entry(digest), url="http://127.0.0.1:9/none", folder=tmp_path / "cache") == path, "cached"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_part_that_cannot_be_continued_is_thrown_away(server, tmp_path):
    """As after a kill between the last byte and the renaming, or when the file at the address has changed."""
    CutOff.cut = False
    content = b"0123456789" * 20_000
    (tmp_path / "table.csv.part").write_bytes(content)
    assert fetch(entry(""), url=server, folder=tmp_path).read_bytes() == content
    assert CutOff.starts == [len(content), 0]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_wrong_checksum_removes_the_file(server, tmp_path):
    CutOff.cut = False
    with pytest.raises(DataMissingError, match="not the SHA-256 abcd"):
        fetch(entry("abcd"), url=server, folder=tmp_path)
    assert not (tmp_path / "table.csv").exists()


def test_public_entries_have_an_address_or_say_what_to_do():
    for name, item in BENCHMARKS.items():
        assert item.url or item.metadata.get("source"), name


def test_chosen_architectures_spread_over_size():
    space = get_space("microvit-32")
    archs = choose_architectures(space, 30, seed=1, max_macs=5e6)
    params = sorted(space.params(a) for a in archs)
    assert len(set(archs)) == 30
    assert params[-1] > 4 * params[0]
    assert max(space.macs(a, num_classes=10) for a in archs) <= 5e6


@pytest.mark.slow
def test_a_build_is_resumed_and_refuses_other_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr("vintk_kit.benchmarks.build._train_all", fake_trainings)
    options = {"n": 4, "repeated": 2, "max_macs": 2e6, "epochs": 1}
    first = build_benchmark(tmp_path, **options)
    assert len(first) == 8
    path = tmp_path / "trainings.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])  # killed while writing the fifth row
    assert len(read_trainings(path)) == 4
    again = build_benchmark(tmp_path, **options)
    assert sorted(again["seed"]) == sorted(first["seed"])
    assert set(again["key"]) == set(first["key"])
    about = publish(tmp_path, tmp_path / "mine.csv")
    assert about["seed_noise"] == 0
    assert about["command"].startswith("vintk benchmark build --space microvit-32 --data photopatch --architectures 4")
    assert len(own_benchmark(tmp_path / "mine.csv", "microvit-32", target="accuracy")) == 4
    with pytest.raises(StoreError, match="got no benchmark"):
        publish(tmp_path / "none", tmp_path / "x.csv")
    with pytest.raises(StoreError, match="epochs"):
        build_benchmark(tmp_path, **{**options, "epochs": 2})
    with pytest.raises(InputError, match="repeated: got 9"):
        build_benchmark(tmp_path, **{**options, "repeated": 9})


def fake_trainings(tasks, space, data, epochs, workers):
    from vintk_kit.spaces import Architecture

    for text, seed in tasks:
        key = Architecture.from_json(text).key
        yield {"key": key, "architecture": text, "params": 1, "macs": 1, "seed": seed, "accuracy": 50.0, "seconds": 1.0}
