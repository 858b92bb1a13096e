"""The comparison on a GPU, in small on the CPU: packed once, and run in pieces."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from shutil import copyfile, copytree

import numpy as np
import pytest
from safetensors.numpy import load_file

from covidssl.errors import DataError, UsageError
from covidssl.folder_lock import alone_in
from pipelines.reproduce_gpu import PAGES, left_of_all, places, run_all
from pipelines.study.finetuning import LAYER_DECAY, LOW_RATE, Said
from pipelines.study.folds import cut, labels_of
from pipelines.study.gpu_gather import gather
from pipelines.study.gpu_packs import pack_set, read_set
from pipelines.study.gpu_pieces import piece_left, run_piece
from pipelines.study.gpu_plan import (
    PLAN,
    Piece,
    Plan,
    frame_of,
    pack_for_gpu,
    pack_left,
    pieces_of,
    plan_of,
    read_plan,
    units_of,
    write_plan,
)
from pipelines.study.paper import ON_GPU, Bench, file_of
from pipelines.study.paper_finetuned import Unit, kept, rows_print, said_of, units
from pipelines.study.pretraining import store_folder
from pipelines.study.records import Cell, read_record, read_records
from pipelines.study.scores import PROBE
from pipelines.study.targets import SetName
from tests.study.made_gpu import SMALL, made_bench, small_configs
from tests.study.made_targets import made_target

NAME: SetName = "sars-cov-2-ct"
OURS = Piece("perlin")
UNTAUGHT = Piece("none", NAME, PROBE)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return made_bench(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def pack(bench: Bench) -> Path:
    folder = bench.runs / "gpu" / "pack"
    pack_for_gpu(bench, folder)
    return folder


@pytest.fixture(scope="module")
def place(pack: Path) -> dict[Piece, int]:
    return {piece: number for number, piece in enumerate(read_plan(pack).pieces)}


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All labels alone: a sixth of the fits."""
    monkeypatch.setattr("pipelines.study.gpu_plan.FRACTIONS", (1.0,))


def stamps(folder: Path) -> dict[str, int]:
    return {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}


def test_a_packed_set_gives_the_same_folds_labels_and_nearly_the_same_frames(
    tmp_path: Path,
) -> None:
    target = made_target(60, 32)
    target = replace(
        target, loaded=replace(target.loaded, masks=np.packbits(target.lungs, axis=-1))
    )
    parts = pack_set(target, target.loaded, tmp_path, most_bytes=100 * 2**10)
    assert len(parts) > 1
    assert all(file.stat().st_size <= 100 * 2**10 for file in parts)
    packed = read_set(tmp_path, target.name)
    folds = cut(target, "blocked")
    for own, fold in zip(packed.folds, folds, strict=True):
        for fraction, draw in ((1.0, 0), (0.1, 0), (0.1, 1)):
            pairs = zip(
                labels_of(packed.target, own, fraction, draw),
                labels_of(target, fold, fraction, draw),
                strict=True,
            )
            assert all(np.array_equal(*pair) for pair in pairs)
    assert np.array_equal(packed.target.lungs, target.lungs)
    assert np.abs(packed.target.frames.astype(int) - target.frames.astype(int)).max() < 257
    parts[0].unlink()
    with pytest.raises(DataError, match="not all"):
        read_set(tmp_path, target.name)


def test_what_is_packed_is_cut_from_the_files_and_left_as_it_is(bench: Bench, pack: Path) -> None:
    plan = read_plan(pack)
    assert plan == plan_of(bench)
    assert plan.pieces == pieces_of("mae")
    assert len(plan.pieces) == 2 + 3 * 2 * 3
    assert read_set(pack, NAME).target.frames.shape == (120, 32, 32)
    before = stamps(pack)
    pack_for_gpu(bench, pack)
    assert stamps(pack) == before


def test_a_pack_of_other_data_or_settings_is_made_again(
    bench: Bench, pack: Path, tmp_path: Path
) -> None:
    plan, own = plan_of(bench), Path(copytree(pack, tmp_path / "pack"))
    others: dict[str, dict[str, object]] = {
        "cut otherwise": {"frame": plan.frame.model_copy(update={"margin": 0.2})},
        "other data": {"sources": {**plan.sources, NAME: "another"}},
        "pieces are others": {"pieces": pieces_of("simclr")},
    }
    for words, update in others.items():
        write_plan(own, plan.model_copy(update=update))
        assert words in pack_left(own, plan)
    stale = own / f"{NAME}-00002-of-00002.safetensors"
    stale.write_bytes(b"of an earlier cut")
    other = own / "model-00001-of-00002.safetensors"
    other.write_bytes(b"somebody else's")
    pack_for_gpu(bench, own)
    assert pack_left(own, plan) == ""
    assert not stale.exists()
    assert other.exists()
    (own / PLAN).write_text("[]")
    assert "another version" in pack_left(own, plan)
    (own / PLAN).unlink()
    assert pack_left(own, plan) == "not packed yet"
    with pytest.raises(UsageError, match="pack again, or copy all of it"):
        read_plan(own)


def test_a_pretraining_keeps_what_others_are_at_and_stands_once_it_is_whole(
    bench: Bench, pack: Path, place: dict[Piece, int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    state = out / "at-work" / "mae" / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"of the other arm")
    assert piece_left(bench.configs, OURS, out) == "no encoder yet"
    run_piece(bench.configs, place[OURS], pack, out, "cpu")
    assert piece_left(bench.configs, OURS, out) == ""
    assert state.exists()
    assert not (out / "at-work" / "perlin").exists()
    encoders = out / "encoders"
    weights = load_file(encoders / "perlin.safetensors").values()
    assert {str(one.dtype) for one in weights} == {"float16"}
    before = stamps(encoders)
    run_piece(bench.configs, place[OURS], pack, out, "cpu")
    assert stamps(encoders) == before, "an encoder that answers are of was made again"
    file = encoders / "perlin.safetensors"
    first = file.read_bytes()
    file.write_bytes(first[:-2])
    with pytest.raises(UsageError, match="run the piece that pretrains perlin first"):
        run_piece(bench.configs, place[Piece("perlin", NAME, PROBE)], pack, out, "cpu")
    run_piece(bench.configs, place[OURS], pack, out, "cpu")
    assert file.read_bytes() == first
    longer = small_configs(tmp_path / "configs", SMALL.replace("steps: 2", "steps: 3"))
    assert piece_left(longer, OURS, out) == "no encoder yet"


def test_protocols_of_one_arm_and_set_may_be_tuned_side_by_side(tmp_path: Path) -> None:
    """While one is at work the other one begins, which empties its own folder alone."""
    low, decay = (
        next(unit for unit in units() if unit.cell.protocol == protocol)
        for protocol in (LOW_RATE, LAYER_DECAY)
    )
    answer = Said(chance=[0.5], inner=0.5, groups=3, chosen="", labels=1, minutes=0, of={})

    def at_once(_unit: Unit):  # type: ignore[no-untyped-def]
        def tune(out: Path) -> Said:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            return answer

        return {}, tune

    def beside(_unit: Unit):  # type: ignore[no-untyped-def]
        def tune(out: Path) -> Said:
            out.mkdir(parents=True)
            (out / "state.pt").write_bytes(b"of this one")
            said_of([decay], NAME, tmp_path, at_once)
            assert (out / "state.pt").exists()
            return answer

        return {}, tune

    assert said_of([low], NAME, tmp_path, beside) == {low: answer}


@pytest.mark.usefixtures("fewer")
@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_a_piece_that_is_done_is_left_as_it_is_and_one_that_is_not_goes_on(
    bench: Bench, pack: Path, place: dict[Piece, int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = out / "said" / "none" / NAME
    assert piece_left(bench.configs, UNTAUGHT, out) == "0 of 5 answers"
    run_piece(bench.configs, place[UNTAUGHT], pack, out, "cpu")
    assert piece_left(bench.configs, UNTAUGHT, out) == ""
    before = stamps(folder)
    assert len(before) == 5 + 1
    run_piece(bench.configs, place[UNTAUGHT], pack, out, "cpu")
    assert stamps(folder) == before
    (folder / units_of(PROBE)[2].file).unlink()
    (folder / "about.json").unlink()
    assert piece_left(bench.configs, UNTAUGHT, out) == "4 of 5 answers"
    run_piece(bench.configs, place[UNTAUGHT], pack, out, "cpu")
    made = [name for name, stamp in stamps(folder).items() if before[name] != stamp]
    assert sorted(made) == sorted(["about.json", units_of(PROBE)[2].file])


def test_a_fine_tuning_piece_answers_every_cell_and_fold_and_leaves_no_work(
    bench: Bench, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = Piece("none", NAME, LOW_RATE)
    two = units_of(LOW_RATE)[:2]
    monkeypatch.setattr("pipelines.study.gpu_pieces.units_of", lambda _protocol: two)
    out = tmp_path / "out"
    run_piece(bench.configs, read_plan(pack).pieces.index(piece), pack, out, "cpu")
    left = {one.name for one in (out / "said" / "none" / NAME).iterdir()}
    assert left == {"about.json", *(unit.file for unit in two)}


def test_a_piece_is_refused_that_is_none_is_at_work_or_of_another_cut(
    bench: Bench, pack: Path, place: dict[Piece, int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="there are pieces 0 to 19"):
        run_piece(bench.configs, 20, pack, out, "cpu")
    (out / "locks").mkdir(parents=True)
    number = place[OURS]
    with (
        alone_in(out / "locks", f"piece-{number}.lock", ""),
        pytest.raises(UsageError, match=f"another process is at piece {number}"),
    ):
        run_piece(bench.configs, number, pack, out, "cpu")
    larger = small_configs(tmp_path / "configs", SMALL.replace("size: 32", "size: 64"))
    with pytest.raises(UsageError, match="Pack again"):
        run_piece(larger, number, pack, out, "cpu")


@pytest.fixture
def answered(bench: Bench, pack: Path, place: dict[Piece, int], tmp_path: Path) -> Path:
    """What the pieces of one arm and set give; fine-tuned answers are made up."""
    out = tmp_path / "out"
    run_piece(bench.configs, place[UNTAUGHT], pack, out, "cpu")
    folder = out / "said" / "none" / NAME
    probed = next(one for one in map(kept, sorted(folder.glob("probe*.json"))) if one is not None)
    target = bench.targets[NAME]
    folds = cut(target, "blocked")
    for unit in units():
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        of = {**probed.of, "rows": rows_print(labels), "config": "of the fine-tuning"}
        answer = probed.model_copy(update={"of": of, "chance": [0.25] * len(labels.score)})
        (folder / unit.file).write_text(answer.model_dump_json())
    return out


@pytest.mark.usefixtures("fewer")
@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_what_pieces_bring_back_becomes_records(
    bench: Bench, answered: Path, tmp_path: Path
) -> None:
    folder, records = answered / "said" / "none" / NAME, tmp_path / "records"
    last = folder / units()[-1].file
    whole = last.read_text()
    last.unlink()
    assert gather(bench.targets, records, answered) == [f"none, {NAME}: 1 of 45 missing"]
    last.write_text(whole)
    about = folder / "about.json"
    about.rename(folder / "away")
    assert gather(bench.targets, records, answered) == [f"none, {NAME}: about.json missing"]
    (folder / "away").rename(about)
    assert gather(bench.targets, records, answered) == []
    own = replace(bench, records=records)
    record = read_record(file_of(own, ON_GPU, (NAME, "blocked", "plain", "none")))
    assert np.isfinite(next(iter(record.cells.values())).chance).all()
    assert record.facts.sources["encoder"] == "drawn, seed 0"
    for name, message in (("rows", "other images"), ("encoder", "its encoder is another")):
        held = Said.model_validate_json(whole)
        changed = held.model_copy(update={"of": {**held.of, name: "of another"}})
        last.write_text(changed.model_dump_json())
        with pytest.raises(UsageError, match=message):
            gather(bench.targets, records, answered)
    with pytest.raises(UsageError, match="holds nothing of a piece"):
        gather(bench.targets, records, tmp_path / "empty")


def test_a_plan_says_what_its_pieces_need(bench: Bench, tmp_path: Path) -> None:
    plan = Plan(frame=frame_of(bench.configs), sources={}, pieces=pieces_of("simclr"))
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert plan.pieces[:2] == [Piece("perlin"), Piece("simclr")]
    assert {piece.arm for piece in plan.pieces} == {"perlin", "none", "simclr"}
    assert len({piece.words for piece in plan.pieces}) == len(plan.pieces)


@pytest.fixture
def of_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """One set and its probes on two draws of labels; no fine-tuning."""
    cells = [Cell(PROBE, 1.0, 0), Cell(PROBE, 0.1, 0)]
    monkeypatch.setattr("pipelines.study.gpu_plan.SETS", (NAME,))
    monkeypatch.setattr("pipelines.study.gpu_plan.cells_of", lambda *_of: cells)
    for module in ("gpu_plan", "gpu_gather"):
        monkeypatch.setattr(f"pipelines.study.{module}.PROTOCOLS", {})


@pytest.mark.usefixtures("of_one_set")
@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_all_is_done_on_one_machine_and_what_stands_is_kept(bench: Bench, tmp_path: Path) -> None:
    copytree(store_folder(bench.runs), store_folder(tmp_path))
    copytree(bench.records, tmp_path / "records")
    own = replace(bench, runs=tmp_path, records=tmp_path / "records")
    pages = tmp_path / "docs"
    pages.mkdir()
    copyfile(PAGES / "reproduction.md", pages / "reproduction.md")
    left = left_of_all(replace(own, reads_sets=False))
    assert left.count("to do") == 1 + 2 + 3
    assert re.search(r"to do: no encoder yet +piece 0: pretrain perlin", left)
    assert run_all(own, pages, "cpu") == []
    assert "to do" not in left_of_all(own)
    records = read_records(own.records / ON_GPU)
    assert [one.facts.arm for one in records] == ["mae", "none", "perlin"]
    page = (pages / "reproduction.md").read_text(encoding="utf-8")
    assert "Not run yet: `make reproduce SCALE=gpu`" not in page
    out = places(own)[1]
    made = {folder: stamps(folder) for folder in (out / "encoders", out / "said/mae" / NAME)}
    assert run_all(own, pages, "cpu") == []
    assert {folder: stamps(folder) for folder in made} == made
