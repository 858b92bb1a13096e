"""`kill -9` at any moment leaves a store that opens, says what is missing, and can be finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidssl.commands import prepare as verb
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PrepareConfig
from covidssl.io import find_scans
from covidssl.preparing import Engine, Job, prepare_store
from covidssl.store import Store
from covidssl.worker_processes import KILLED
from tests.killed_readers import write_deadly_picture
from tests.scan_files import chest_grey, write_png
from tests.store.stores import prepare

ROOT = Path(__file__).parents[2]
COUNT = 24

FILLING = """
import sys
from pathlib import Path
from covidssl.io import find_scans
from covidssl.preparing import Job, prepare_store

scans = find_scans([Path(sys.argv[1])]).scans
print("begun", flush=True)
prepare_store(Job(Path(sys.argv[2])), scans, resume=True)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "in"
    for number in range(COUNT):
        write_png(folder / f"{number:02d}.png", chest_grey(64, seed=number))
    return folder


@pytest.fixture(scope="module")
def whole(source: Path) -> Store:
    return prepare(source, source.parent / "whole")


def filling(source: Path, out: Path) -> subprocess.Popen[str]:
    """A process that fills a store, and has just begun to."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", FILLING, str(source), str(out)],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def check_what_is_there(out: Path, whole: Store) -> None:
    """Whatever opens is as in the whole store, and what is missing is named."""
    if not (out / "unfinished.json").is_file() and not (out / "store.json").is_file():
        with pytest.raises(DataError, match="is no prepared store"):
            Store.open(out, partial=True)
        return
    part = Store.open(out, partial=True)
    there = {row.scan: row for row in part.manifest}
    assert sorted([*there, *part.missing]) == [row.scan for row in whole.manifest]
    rows = {row.scan: row for row in whole.manifest}
    assert all(there[name] == rows[name] for name in there)
    expected = {stored.scan: whole.read(stored) for stored in whole.slices}
    for stored in part.slices:
        array, lungs = part.read(stored)
        assert np.array_equal(array, expected[stored.scan].array)
        assert np.array_equal(lungs, expected[stored.scan].lungs)
    if part.missing:
        with pytest.raises(DataError, match=f"{len(part.missing)} of {COUNT} scans are missing"):
            Store.open(out)


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_a_store_opens_and_can_be_finished(
    source: Path, whole: Store, tmp_path: Path, seed: int
) -> None:
    moments = np.random.default_rng(seed).uniform(0, 1.2, 2)
    out = tmp_path / "out"
    for moment in moments.tolist():
        with filling(source, out) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
        if out.exists():
            check_what_is_there(out, whole)
    store = prepare(source, out, resume=True)
    assert (store.fingerprint, store.manifest) == (whole.fingerprint, whole.manifest)
    assert store.missing == ()
    assert len(list((out / "scans").iterdir())) == len(store.slices)


EATER = """
import sys
from pathlib import Path

import covidssl.preparing.one_scan as one_scan
from covidssl.io import find_scans
from covidssl.preparing import Engine, Job, prepare_store
from tests.killed_readers import end_over_deadly_pictures

end_over_deadly_pictures(one_scan)

if __name__ == "__main__":
    scans = find_scans([Path(sys.argv[1])]).scans
    prepare_store(Job(Path(sys.argv[2])), scans, engine=Engine(workers=2))
"""


def test_a_scan_over_which_its_process_is_killed_costs_itself_alone(
    source: Path, tmp_path: Path
) -> None:
    """The killer is in the script, which a spawned process imports: the pool is the real one."""
    for path in sorted(source.iterdir())[:4]:
        write_png(tmp_path / "in" / path.name, np.asarray(Image.open(path)))
    write_deadly_picture(tmp_path / "in" / "01b.png")
    script = tmp_path / "eater.py"
    script.write_text(EATER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "in"), str(tmp_path / "out")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row.scan: row for row in Store.open(tmp_path / "out").manifest}
    assert [row.status for row in rows.values()] == ["ok", "ok", "failed", "ok", "ok"]
    assert rows["01b.png"].code == KILLED
    assert "want of memory" in rows["01b.png"].verdict
    # Nobody kills it here: it is read when it is asked for.
    job, scans = Job(tmp_path / "out"), find_scans([tmp_path / "in"]).scans
    assert prepare_store(job, scans, resume=True).manifest[2].status == "failed"


def test_processes_give_the_same_store_as_one(source: Path, whole: Store, tmp_path: Path) -> None:
    scans = find_scans([source]).scans
    store = prepare_store(Job(tmp_path / "out"), scans, engine=Engine(workers=2))
    assert (store.fingerprint, store.manifest) == (whole.fingerprint, whole.manifest)


SLEEPER = """
import sys, time
from pathlib import Path

import covidssl.preparing.one_scan as one_scan
from covidssl.io import find_scans
from covidssl.preparing import Engine, Job, prepare_store


def read_forever(scan, how):
    print("reading", flush=True)
    time.sleep(3600)


one_scan.read_scan = read_forever

if __name__ == "__main__":
    scans = find_scans([Path(sys.argv[1])]).scans
    prepare_store(Job(Path(sys.argv[2])), scans, engine=Engine(workers=2))
"""


def test_no_worker_outlives_a_prepare_that_is_killed(source: Path, tmp_path: Path) -> None:
    """The workers hold the other end of the pipe: it ends when the last of them has."""
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(source), str(tmp_path / "out")],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["reading\n"] * 2
    process.kill()
    process.communicate(timeout=120)


FIRST_WRITES = """
import os, signal, sys
from pathlib import Path
from covidssl.commands import prepare
from covidssl.experiments import PrepareConfig

left = [int(sys.argv[3])]
renaming = Path.replace


def rename_or_be_killed(path, target):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return renaming(path, target)


Path.replace = rename_or_be_killed
prepare.main(PrepareConfig(), [Path(sys.argv[1])], Path(sys.argv[2]), "resume")
"""


@pytest.mark.parametrize("write", [1, 2, 3])
def test_killed_in_its_first_writes_a_run_goes_on_and_leaves_no_half_file(
    source: Path, whole: Store, tmp_path: Path, write: int
) -> None:
    out = tmp_path / "out"
    given = [sys.executable, "-c", FIRST_WRITES, str(source), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([*given, str(write)], cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(out.glob(".*.part*"))
    assert not (out / "store.json").exists()
    verb.main(PrepareConfig(), [source], out, "resume")
    assert len(Store.open(out).slices) == len(whole.slices)
    assert list(out.glob(".*.part*")) == []


HOLDING = """
import sys
from pathlib import Path
from covidssl.io import find_scans
from covidssl.preparing import Job, StoreWriter

scans = find_scans([Path(sys.argv[1])]).scans
with StoreWriter.begin(Job(Path(sys.argv[2])), scans):
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_a_second_prepare_of_a_folder_is_refused_while_the_first_runs(
    source: Path, whole: Store, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(source), str(tmp_path / "out")], cwd=ROOT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    before = (tmp_path / "out" / "unfinished.json").stat().st_mtime_ns
    with pytest.raises(UsageError, match="another prepare is filling it"):
        prepare(source, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "unfinished.json").stat().st_mtime_ns == before
    process.kill()
    process.communicate()
    assert prepare(source, tmp_path / "out", resume=True).fingerprint == whole.fingerprint


LIMITED = """
import resource, sys
from pathlib import Path
from covidssl.errors import CovidsslError
from covidssl.io import find_scans
from covidssl.preparing import Job, prepare_store

resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    prepare_store(Job(Path(sys.argv[2])), find_scans([Path(sys.argv[1])]).scans)
except CovidsslError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_leaves_nothing_half_written_and_resuming_completes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 40, (400, 400))
    large = np.clip(chest_grey(400).astype(int) + noise, 0, 255).astype(np.uint8)
    write_png(tmp_path / "in" / "b.png", large)
    write_png(tmp_path / "in" / "a.png", chest_grey(64))
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "in"), str(tmp_path / "out")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 1
    assert "the disk is full or the file too large" in run.stderr
    assert "--resume" in run.stderr
    assert "Traceback" not in run.stderr
    assert len(list((tmp_path / "out" / "scans").iterdir())) == 1
    part = Store.open(tmp_path / "out", partial=True)
    assert part.missing == ("b.png",)
    assert [stored.scan for stored in part.slices] == ["a.png"]
    store = prepare(tmp_path / "in", tmp_path / "out", resume=True)
    assert store.fingerprint == prepare(tmp_path / "in", tmp_path / "whole").fingerprint
