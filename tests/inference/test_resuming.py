"""A run goes on where it was: nothing is read twice that is done, nothing is kept that changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covidssl.answers import Answer, Outcome
from covidssl.commands import predict as verb
from covidssl.errors import NoRoomError, UsageError
from covidssl.experiments import PredictConfig
from covidssl.inference.journal import (
    NAME,
    Entry,
    Journal,
    answer_path,
    forget,
    read_answer,
    stem_of,
    write_answer,
)
from covidssl.inference.sources import seek
from covidssl.pseudonyms import Pseudonyms
from tests.inference.folders import PLAIN, ask, rows_of, with_random_head, write_pictures
from tests.model_folders import write_untrained_model
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png

ROOT = Path(__file__).parents[2]


def times_of(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "scans").iterdir()}


def test_what_is_done_and_unchanged_is_not_read_again(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask(model, scans, out)
    before, table = times_of(out), (out / "predictions.csv").read_bytes()
    assert ask(model, scans, out, "resume") == 1
    assert times_of(out) == before
    assert (out / "predictions.csv").read_bytes() == table


def test_a_scan_that_changed_is_read_again_and_it_alone(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask(model, scans, out)
    before, rows = times_of(out), rows_of(out)
    write_png(scans / "02.png", chest_grey(80, seed=9))
    write_png(scans / "broken.png", chest_grey(64, seed=10))
    assert ask(model, scans, out, "resume") == 0
    after, now = times_of(out), rows_of(out)
    assert {name for name in after if after[name] != before[name]} == {
        Path(answer_path(name)).name for name in ("02.png", "broken.png")
    }
    assert now["02.png"]["probability"] != rows["02.png"]["probability"]
    assert now["broken.png"]["outcome"] == "ok"


def test_nothing_is_left_of_a_scan_that_cannot_be_read_any_more(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask(model, scans, out)
    stem = stem_of("02.png")
    assert len(list(out.rglob(f"{stem}*"))) > 1
    (scans / "02.png").write_bytes(b"no picture any more")
    ask(model, scans, out, "resume")
    assert [path.name for path in out.rglob(f"{stem}*")] == [f"{stem}.json"]
    assert rows_of(out)["02.png"]["outcome"] == "failed"


def test_no_answer_makes_a_run_delete_what_is_not_its_own(tmp_path: Path) -> None:
    stem, mine = stem_of("a"), tmp_path / "mine.txt"
    mine.write_text("ten years")
    (tmp_path / "out").mkdir()
    (tmp_path / f"{stem}.txt").write_text("somebody else's")
    files = {
        "a": "../mine.txt", "b": f"maps/{stem}/../../../mine.txt", "c": f"maps/{stem}.png",
        "d": f"../{stem}.txt", "e": str(mine),
    }  # fmt: skip
    (tmp_path / "out" / "maps").mkdir()
    (tmp_path / "out" / files["c"]).write_text("a map")
    write_answer(tmp_path / "out", Answer(scan="a", outcome=Outcome.OK, files=files))
    forget(tmp_path / "out", "a")
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == sorted(
        ["mine.txt", f"{stem}.txt"]
    )
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_failed_scans_are_read_again_where_that_is_asked_for(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask(model, scans, out)
    before = times_of(out)
    ask(model, scans, out, "resume", retry_failed=True)
    after = times_of(out)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {Path(answer_path("broken.png")).name}


def test_rows_are_those_of_the_inputs_and_answers_wait_for_theirs(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask(model, [scans / "00.png", scans / "01.png"], out)
    before = times_of(out)
    ask(model, scans / "01.png", out, "resume")
    assert list(rows_of(out)) == ["01.png"]
    assert list(times_of(out)) == [Path(answer_path("01.png")).name]
    ask(model, [scans / "00.png", scans / "01.png"], out, "resume")
    assert list(rows_of(out)) == ["00.png", "01.png"]
    assert times_of(out) == before


def test_an_answer_that_was_damaged_is_made_again(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask(model, scans, out)
    table = (out / "predictions.csv").read_bytes()
    (out / answer_path("00.png")).write_text("{}")
    (out / answer_path("01.png")).unlink()
    journal = (out / NAME).read_bytes()
    (out / NAME).write_bytes(journal[:-7])
    ask(model, scans, out, "resume")
    assert (out / "predictions.csv").read_bytes() == table
    assert (out / NAME).read_bytes().count(b"\n") == 6 + 3


def twins(folder: Path) -> tuple[Path, Path]:
    """Two scans of one name, one size and one time, in two folders of one name."""
    made = []
    for number in range(2):
        path = folder / str(number) / "ct" / "v.nii"
        lps_nifti(path, chest_hu(6, 64)[:, :: 1 - 2 * number].copy() - 20 * number, 10.0)
        os.utime(path, (1e9, 1e9))
        made.append(path.parent)
    return made[0], made[1]


def test_a_scan_of_the_same_name_elsewhere_is_another_one(model: Path, tmp_path: Path) -> None:
    one, other = twins(tmp_path)
    ask(model, one, tmp_path / "out")
    ask(model, other, tmp_path / "out", "resume")
    ask(model, other, tmp_path / "afresh")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "afresh")


def test_scans_of_one_name_are_the_same_in_any_order_of_inputs(model: Path, tmp_path: Path) -> None:
    one, other = twins(tmp_path)
    ask(model, [one, other], tmp_path / "out")
    before, table = times_of(tmp_path / "out"), rows_of(tmp_path / "out")
    assert list(table) == ["ct/v.nii", "ct/v.nii (2)"]
    ask(model, [other, one], tmp_path / "out", "resume")
    assert (times_of(tmp_path / "out"), rows_of(tmp_path / "out")) == (before, table)
    ask(model, [other, one], tmp_path / "afresh")
    assert rows_of(tmp_path / "afresh") == table
    assert len({read_answer(tmp_path / "out", name).probability for name in table}) == 2


def test_hidden_places_are_told_apart_by_the_key_alone(tmp_path: Path) -> None:
    one, other = twins(tmp_path)
    ids = [Pseudonyms(bytes([number]) * 32) for number in range(2)]
    stamps = {seek([folder], key).stamps().popitem()[1] for folder in (one, other) for key in ids}
    assert len(stamps) == 4


def test_a_product_that_is_gone_is_made_again(model: Path, scans: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", PredictConfig()
    ask(model, scans / "volume.nii.gz", out, config=config)
    made = sorted(path.name for path in (out / "maps").iterdir())
    assert made
    shutil.rmtree(out / "maps")
    ask(model, scans / "volume.nii.gz", out, "resume", config=config)
    assert sorted(path.name for path in (out / "maps").iterdir()) == made


def test_another_card_is_refused_and_a_finished_run_stays_finished(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(model, tmp_path / "changed")
    ask(changed, scans / "00.png", tmp_path / "out")
    record = (tmp_path / "out" / "record.json").read_bytes()
    card = json.loads((changed / "card.json").read_text())
    card["operating_point"] = 0.125
    (changed / "card.json").write_text(json.dumps(card))
    for run in (
        lambda: ask(changed, scans, tmp_path / "out", "resume"),
        lambda: verb.dry_run(PLAIN, changed, [scans], tmp_path / "out", "resume"),
    ):
        with pytest.raises(UsageError, match="its data changed since it was started: card"):
            run()
    assert (tmp_path / "out" / "record.json").read_bytes() == record
    with pytest.raises(UsageError, match="exists already"):
        verb.dry_run(PLAIN, changed, [scans], tmp_path / "out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_journal_without_room_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path, [])
    journal._file.close()
    journal._file = Path("/dev/full").open("ab")  # noqa: SIM115 (the journal closes it)
    with pytest.raises(NoRoomError, match=r"the disk is full.*--resume"):
        journal.add(Entry("a", "", Outcome.OK, (), 1.0, ""))
    journal.close()


def test_other_models_and_other_plans_are_refused(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask(model, scans / "00.png", out)
    with pytest.raises(UsageError, match="configuration has changed: augmentations"):
        ask(model, scans, out, "resume", config=PredictConfig(maps=False, augmentations=3))
    other = with_random_head(write_untrained_model(tmp_path / "other"), seed=1)
    with pytest.raises(UsageError, match="its data changed since it was started: classifier"):
        ask(other, scans, out, "resume")
    with pytest.raises(UsageError, match="exists already"):
        ask(model, scans, out)


RUN = """
import sys
from pathlib import Path
from covidssl.inference.engines import Engine
from tests.inference.folders import ask

if __name__ == "__main__":
    model, scans, out, workers = sys.argv[1:]
    ask(Path(model), Path(scans), Path(out), "resume", engine=Engine(workers=int(workers)))
"""


def running(script: Path, *given: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(script), *map(str, given)], env=environment)


def test_killed_at_any_moment_it_goes_on_to_the_same_table(model: Path, tmp_path: Path) -> None:
    """`benchmarks.soak` kills many more."""
    scans = write_pictures(tmp_path / "in", 12)
    script = tmp_path / "run.py"
    script.write_text(RUN)
    ask(model, scans, tmp_path / "whole")
    out = tmp_path / "out"
    process = running(script, model, scans, out, 0)
    until = time.monotonic() + 120
    while lines_of(out) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= lines_of(out) < 12
    ask(model, scans, out, "resume")
    whole = tmp_path / "whole" / "predictions.csv"
    assert (out / "predictions.csv").read_bytes() == whole.read_bytes()
    scanned = [json.loads(line)["scan"] for line in (out / NAME).read_text().splitlines()]
    assert len(scanned) == len(set(scanned)) == 12
    assert not list(out.rglob(".*.part*"))


def test_asked_to_end_it_keeps_what_is_done(model: Path, tmp_path: Path) -> None:
    scans, out = write_pictures(tmp_path / "in", 40), tmp_path / "out"
    script = tmp_path / "run.py"
    script.write_text(RUN)
    process = running(script, model, scans, out, 0)
    until = time.monotonic() + 120
    while lines_of(out) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert json.loads((out / "record.json").read_text())["status"] == "stopped"
    assert 3 <= len(rows_of(out)) == lines_of(out) < 40


def lines_of(out: Path) -> int:
    return (out / NAME).read_bytes().count(b"\n") if (out / NAME).is_file() else 0
