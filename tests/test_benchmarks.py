"""The benchmarks: rows that say what was measured, contenders that do the same work."""

from __future__ import annotations

import json
import math
import platform
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import bootstrap, contenders, fields, overhead
from benchmarks import perlin as perlin_benchmark
from benchmarks.__main__ import Subject
from benchmarks.__main__ import main as command
from benchmarks.contenders import Work
from benchmarks.memory import peak_extra_mib
from benchmarks.plain_perlin import plain_perlin
from benchmarks.rows import (
    RESULTS,
    Bar,
    Device,
    Pair,
    Row,
    is_met,
    missed,
    read_results,
    replace_rows,
    row,
)
from benchmarks.tables import DOCUMENT, markdown, sheets, with_tables
from benchmarks.timing import Contender, interleaved
from covidssl.errors import DataError
from covidssl.perlin import Backend

main_module = sys.modules["benchmarks.__main__"]
WORKS = [Work((16, 24), 2, 3), Work((8, 16, 24), 2, 2)]


def a_row(case: str, device: Device = "cpu", ratio: float = 4.0) -> Row:
    pair = Pair([1.0], [ratio])
    return row(case, "ms a field", pair, "noise", Bar("at least", 3.0), device)


def run_command(*arguments: str) -> tuple[int, str]:
    import typer

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


# Rows


def test_a_time_is_compared_by_how_many_times_faster_ours_is() -> None:
    faster = row("case", "ms", Pair([1, 2, 1], [8, 8, 12]), "peer", Bar("at least", 8.0))
    assert (faster.ours, faster.peer, faster.ratio, faster.met) == (1, 8, 8, True)


def test_a_cost_is_compared_by_how_many_times_the_peer_ours_takes() -> None:
    slower = row("case", "ms", Pair([6, 6, 9], [2, 2, 2]), "write", Bar("at most", 2.5))
    assert (slower.ratio, slower.met) == (3, False)


def test_a_rate_is_compared_by_its_share_of_the_peers() -> None:
    pair = Pair([95.0], [100.0], more_is_better=True)
    assert row("case", "images/s", pair, "peer", Bar("at least", 0.95)).met is True
    assert row("case", "images/s", pair, "peer", Bar("at least", 0.96)).met is False


@pytest.mark.parametrize(
    ("ratio", "bar", "shown", "met"),
    [
        (249.96, Bar("at least", 250.0), "249.96", "no"),
        (250.04, Bar("at least", 250.0), "250", "yes"),
        (0.94996, Bar("at least", 0.95), "0.94996", "no"),
        (1 / 2.50004, Bar("at most", 2.5), "2.50004", "no"),
        (1 / 2.4996, Bar("at most", 2.5), "2.5", "yes"),
    ],
)
def test_a_near_miss_is_a_miss_and_looks_like_one(
    ratio: float, bar: Bar, shown: str, met: str
) -> None:
    near = row("case", "ms", Pair([1.0], [ratio]), "peer", bar)
    (sheet,) = sheets([near])
    line = dict(zip(sheet.headings, sheet.lines[0], strict=True))
    assert (line["ratio"], line["met"]) == (shown, met)


def test_a_near_miss_stays_one_in_the_file(tmp_path: Path) -> None:
    near = row("case", "ms", Pair([1.0], [249.96]), "peer", Bar("at least", 250.0))
    replace_rows(tmp_path / "perlin.json", "cpu", [near], [1])
    (found,) = read_results(tmp_path / "perlin.json").rows
    assert (found.ratio, found.met) == (249.96, False)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    found = row("case", "ms", Pair([1, 10, 1], [3, 20, 5]), "peer", Bar("at least"))
    assert found.ratio == 3
    assert found.bar is None
    assert found.met is None


def test_only_a_bar_can_be_missed() -> None:
    free = row("free", "ms", Pair([9.0], [1.0]), "peer", Bar("at least"))
    behind = a_row("behind", ratio=2.0)
    assert missed([free, a_row("met"), behind]) == [behind]


def test_a_run_replaces_the_rows_of_its_own_device_alone(tmp_path: Path) -> None:
    path = tmp_path / "perlin.json"
    replace_rows(path, "cpu", [a_row("old"), a_row("older")], [1])
    gpu = a_row("gpu")._replace(device="cuda")
    held = json.loads(path.read_text())
    held["rows"].append(gpu._asdict())
    held["measured"]["cuda"] = {**held["measured"]["cpu"], "processor": "a GPU"}
    path.write_text(json.dumps(held))
    replace_rows(path, "cpu", [a_row("new")], [1, 2])
    results = read_results(path)
    assert results.rows == [a_row("new"), gpu]
    assert results.measured["cuda"]["processor"] == "a GPU"
    assert results.measured["cpu"]["threads"] == [1, 2]


def test_rows_of_another_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cuda"):
        replace_rows(tmp_path / "perlin.json", "cpu", [a_row("gpu", "cuda")], [1])
    assert not (tmp_path / "perlin.json").exists()


def test_a_file_that_holds_no_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "perlin.json").write_text('{"rows": [{"case": "half"}]}')
    with pytest.raises(DataError, match=r"perlin\.json"):
        read_results(tmp_path / "perlin.json")


def test_results_name_versions_and_processor_but_neither_host_nor_paths(tmp_path: Path) -> None:
    path = tmp_path / "perlin.json"
    replace_rows(path, "cpu", [a_row("case")], [1])
    text = path.read_text()
    measured = json.loads(text)["measured"]["cpu"]
    assert set(measured) == {
        "date", "commit", "python", "packages", "processor", "cores", "threads"
    }  # fmt: skip
    assert measured["packages"]["torch"] == torch.__version__
    assert "numpy" in measured["packages"]
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert str(RESULTS.parents[1]) not in text


# Tables


def test_the_table_says_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "perlin.json"
    assert markdown(read_results(path)) == "CPU: not measured.\n\nGPU: not measured."
    replace_rows(path, "cpu", [a_row("fast"), a_row("slow", ratio=2.0)], [1])
    text = markdown(read_results(path))
    assert text.endswith("GPU: not measured.")
    assert "| fast | ms a field | 1 | noise | 4 | 4 | ≥ 3 | yes |" in text
    assert "| slow | ms a field | 1 | noise | 2 | 2 | ≥ 3 | no |" in text


def test_rows_without_a_bar_stand_in_a_line_a_case(tmp_path: Path) -> None:
    path = tmp_path / "perlin.json"
    pairs = {"numpy": Pair([2.0], [8.0]), "write": Pair([2.0], [1.0])}
    bounds = {"numpy": Bar("at least"), "write": Bar("at most")}
    rows = [row("case", "ms", pairs[name], name, bounds[name]) for name in pairs]
    replace_rows(path, "cpu", rows, [1])
    text = markdown(read_results(path))
    assert "| case | unit | ours | numpy | write |" in text
    assert "| case | ms | 2 | 8 (4) | 1 (2) |" in text


def test_a_document_without_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="perlin:begin"):
        with_tables("# Benchmarks", ["perlin"], tmp_path)


def test_the_page_says_what_the_results_say() -> None:
    page = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(page, Subject, RESULTS) == page


@pytest.mark.parametrize("subject", Subject)
def test_a_written_bar_is_met_as_its_ratio_says(subject: Subject) -> None:
    for found in read_results(RESULTS / f"{subject}.json").rows:
        assert found.met is is_met(found.ratio, found.bound, found.bar), found.case


# Timing


def test_every_round_times_everyone_once_and_every_other_one_backwards() -> None:
    calls: list[str] = []
    both = [Contender(name, partial(calls.append, name)) for name in "ab"]
    seconds = interleaved(both, rounds=2, least_s=0.0)
    assert calls[-4:] == ["a", "b", "b", "a"]
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}


def test_a_call_of_many_units_counts_as_many() -> None:
    def many() -> None:
        calls.append(1)

    calls: list[int] = []
    found = interleaved([Contender("many", many, units=1e9)], rounds=1, least_s=0.0)
    assert 0 < found["many"][0] < 1e-6


# Contenders


def improved_perlin_permutation() -> np.ndarray:
    """The permutation of the `noise` package's C code."""
    noise = pytest.importorskip("noise.perlin")
    table = np.array(noise.BaseNoise.permutation[:256])
    table[180] = 19  # its Python copy holds 180 twice there
    assert sorted(table) == list(range(256))
    return table


@pytest.mark.parametrize("octaves", [1, 4])
def test_the_plain_version_is_improved_perlin_noise(octaves: int) -> None:
    noise, table = pytest.importorskip("noise"), improved_perlin_permutation()
    rng = np.random.default_rng(0)
    z, y, x = (rng.uniform(0, 30, n).astype(np.float32) for n in (5, 12, 20))
    flat = [[noise.pnoise2(float(a), float(b), octaves) for b in x] for a in y]
    assert np.abs(plain_perlin([y, x], octaves, table) - flat).max() < 1e-5
    deep = [
        [[noise.pnoise3(float(c), float(a), float(b), octaves) for b in x] for a in y] for c in z
    ]
    assert np.abs(plain_perlin([z, y, x], octaves, table) - deep).max() < 1e-5


@pytest.mark.parametrize("work", WORKS, ids=["2D", "3D"])
@pytest.mark.parametrize("name", contenders.PEERS)
def test_a_peer_draws_the_whole_field(name: str, work: Work) -> None:
    for module in contenders.NEEDS[name]:
        pytest.importorskip(module)
    (peer,) = [one for one in contenders.contenders(work) if one.name == name]
    field = np.asarray(peer.call())
    assert peer.units == 1
    assert field.shape == work.size
    assert np.isfinite(field).all()
    assert field.std() > 0.05


@pytest.mark.parametrize("name", ["noise", "pyfastnoiselite", "plain numpy"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_lattice_peer_is_zero_at_the_corners_of_as_many_cells(
    name: str, dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pixels on the corners and at the cells' centres, one octave shows where cells begin."""
    for module in contenders.NEEDS[name]:
        pytest.importorskip(module)
    halves = [np.arange(8, dtype=np.float32) / 2] * dimensions
    monkeypatch.setattr(contenders, "axes", lambda _: halves)
    work = Work((8,) * dimensions, 4, 1)
    (peer,) = [one for one in contenders.contenders(work) if one.name == name]
    field = np.reshape(np.asarray(peer.call()), work.size)
    corners = field[(slice(None, None, 2),) * dimensions]
    assert np.abs(corners).max() < 1e-6
    assert np.abs(field).max() > 0.1


def test_the_reference_draws_a_part_of_a_large_field_and_says_which() -> None:
    pytest.importorskip("noise")
    work = Work((256, 256), 4, 1)
    (reference,) = [one for one in contenders.contenders(work) if one.name == "noise"]
    drawn = reference.call()
    assert isinstance(drawn, list)
    assert len(drawn) == 256 * 256 * reference.units < 256 * 256


@pytest.mark.parametrize("drawn", [False, True])
def test_own_scales_differ_between_fields_and_axes_and_stay_near(drawn: bool) -> None:
    field = fields._field(Work((64, 64), 8, 4), batch=16, drawn=drawn, number=0)
    assert field.cells.shape == (16, 2)
    assert len(field.cells.unique()) == (32 if drawn else 1)
    assert (field.cells - 8).abs().max() <= 0.3 * 8
    assert len(field.seed.unique()) == 16


@pytest.mark.parametrize("work", WORKS, ids=["2D", "3D"])
@pytest.mark.parametrize("backend", fields.backends("cpu"))
def test_our_calls_draw_a_batch_and_never_the_same_twice(work: Work, backend: Backend) -> None:
    call = fields.draw(work, 3, True, backend)
    first, second = call(), call()
    assert first.shape == (3, 1, *work.size)
    assert not torch.equal(first, second)


# Subjects


def test_bars_stand_at_the_fastest_peer_and_at_the_batch_that_they_are_for() -> None:
    plan = perlin_benchmark.FULL
    way = perlin_benchmark.Ours(fields.backends("cpu")[0], 32, False)
    seconds = {way.name: [1e-4], "noise": [0.03], "plain numpy": [5e-3], "pyfastnoiselite": [3e-3]}
    writes = (perlin_benchmark.KEPT, perlin_benchmark.FRESH)
    seconds |= {f"{name} {batch}": [5e-5] for name in writes for batch in (1, 32)}
    rows = list(perlin_benchmark.rows_of(way, plan.works()[0], 1, seconds, plan))
    bars = {one.peer_name: (one.bar, one.met) for one in rows if one.bar}
    assert bars == {
        "noise": (250, True),
        "pyfastnoiselite": (35, False),
        perlin_benchmark.FRESH: (2.5, True),
    }
    two_threads = perlin_benchmark.rows_of(way, plan.works()[0], 2, seconds, plan)
    assert not [one for one in two_threads if one.bar]
    single = way._replace(batch=1)
    alone = perlin_benchmark.rows_of(
        single, plan.works()[0], 1, seconds | {single.name: [1e-4]}, plan
    )
    assert not [one for one in alone if one.bar]


def test_a_full_run_without_its_peers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perlin_benchmark, "missing", lambda: ["opensimplex"])
    code, output = run_command("--only", "perlin", "--device", "cpu")
    assert code == 2
    assert "opensimplex" in output


def test_peak_memory_is_counted_above_the_output() -> None:
    extra, output = peak_extra_mib(
        size=(256, 256), cells=4, octaves=2, batch=32, drawn=True, backend="product", threads=2
    )
    assert output == 32 * 256 * 256 * 4 / 2**20
    assert 0 <= extra < 100 * output


@pytest.mark.parametrize("subject", Subject)
def test_a_quick_run_measures_everything_and_bars_nothing(subject: Subject, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    code, output = run_command(
        "--only", subject, "--quick", "--strict", "--device", "cpu", "--results", str(tmp_path)
    )
    assert code == 0, output
    assert torch.get_num_threads() == threads
    rows = read_results(tmp_path / f"{subject}.json").rows
    assert rows
    assert {one.device for one in rows} == {"cpu"}
    assert not [one for one in rows if one.bar is not None]
    assert all(math.isfinite(number) for one in rows for number in (one.ours, one.peer, one.ratio))
    assert "no bar applies" in output
    assert "GPU: not measured" in output


@pytest.mark.parametrize("folder", [RESULTS, Path("benchmarks/results")], ids=str)
def test_a_quick_run_cannot_replace_what_the_page_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page, held = DOCUMENT.read_bytes(), {path: path.read_bytes() for path in RESULTS.iterdir()}
    monkeypatch.chdir(RESULTS.parents[1])
    # A failure must not cost the page either.
    monkeypatch.setattr(main_module, "replace_rows", lambda *_: None)
    monkeypatch.setattr(main_module, "write_tables", lambda *_: (tmp_path / "page").touch())
    arguments = ("--only", "overhead", "--quick", "--device", "cpu", "--results", str(folder))
    monkeypatch.setattr(overhead, "run", lambda device, quick: ([], (1,)))  # noqa: ARG005
    code, output = run_command(*arguments)
    assert code == 2
    assert "--quick" in output
    assert not (tmp_path / "page").exists()
    assert DOCUMENT.read_bytes() == page
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == held


def test_memory_is_barred_for_every_batch_thread_way_and_fineness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(**field: Any) -> tuple[float, float]:
        asked.append(field)
        return 3.1, 1.0

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(perlin_benchmark, "peak_extra_mib", measured)
    rows = list(perlin_benchmark._memory(perlin_benchmark.FULL))
    assert len(rows) == len({one.case for one in rows}) == len(asked)
    assert {(one.bar, one.met) for one in rows} == {(3.0, False)}
    fields_of = {(field["size"], field["cells"], field["octaves"]) for field in asked}
    assert {((512, 512), 128, 1), ((128, 128, 128), 32, 1), ((512, 512), 8, 4)} <= fields_of
    seen = {(field["batch"], field["threads"], field["backend"]) for field in asked}
    backends = fields.backends("cpu")
    assert seen == {(b, t, backend) for b in (1, 32) for t in (1, 2) for backend in backends}


def test_strict_ends_with_one_where_a_bar_is_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    behind = a_row("behind", ratio=2.0)
    monkeypatch.setattr(overhead, "run", lambda device, quick: ([behind], (1,)))  # noqa: ARG005
    arguments = ("--only", "overhead", "--device", "cpu", "--results", str(tmp_path))
    code, output = run_command(*arguments)
    assert code == 0
    assert "missed: behind" in output
    assert run_command(*arguments, "--strict")[0] == 1


def test_clean_slices_of_phantoms_hold_lungs() -> None:
    slices = overhead.clean_slices(5, 64)
    assert slices.frames.shape == slices.lungs.shape == (5, 1, 64, 64)
    assert slices.frames.dtype == torch.uint16
    share = slices.lungs.float().mean((1, 2, 3))
    assert ((share > 0.1) & (share < 0.7)).all()
    assert (slices.pixel_mm > 1).all()


def test_the_plain_bootstrap_does_the_same_work() -> None:
    case = bootstrap.Case(300, 3)
    made = bootstrap.drawn(case)
    found, peer = bootstrap.ours(made, 400), bootstrap.plain(made, 400)
    assert set(found) == set(peer)
    for name, (low, high) in peer.items():
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=0.04), name
