"""A run folder is never lost by accident, and its record says where its numbers come from."""

from __future__ import annotations

import json
import logging
import multiprocessing
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from covidssl.config import load_config
from covidssl.errors import DataError, EndedElsewhereError, StoppedError, UsageError
from covidssl.experiments import PretrainConfig, PreviewConfig
from covidssl.files import read_csv, write_text
from covidssl.learning.step_files import MetricsFile
from covidssl.runs import IfExists, RunFolder, git_state, look_at_run, package_versions
from covidssl.shared_runs import FollowedRun, Opened, open_run, rehearsed_run
from covidssl.training import StepReport
from covidssl.version import __version__


class Alone:
    """The first of the processes, which nobody hears."""

    is_global_zero = True

    def broadcast(self, told: Any) -> Any:
        return told


class Second(Alone):
    """Another one, which hears that the first was refused."""

    is_global_zero = False


ROOT = Path(__file__).resolve().parents[1]


def run(
    path: Path, config: PreviewConfig | None = None, if_exists: IfExists = "refuse"
) -> RunFolder:
    return RunFolder(path, "preview", config or PreviewConfig(), if_exists)


def record_of(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((path / "record.json").read_text())
    return record


def fail(path: Path, if_exists: IfExists = "refuse") -> None:
    """A run that is refused its data."""
    with run(path, if_exists=if_exists):
        raise DataError("the data ran out")


def write_metrics(path: Path, steps: range, from_step: int = 0) -> None:
    metrics = MetricsFile(path, ["part"], from_step)
    for step in steps:
        metrics.write(StepReport(step, 1 / (step + 2), {"part": 0.25}, 1e-3, 12.34))
    metrics.close()


def test_record_says_where_the_numbers_come_from(tmp_path: Path) -> None:
    with run(tmp_path / "run", PreviewConfig(seed=7)) as folder:
        folder.note(device="cuda:0", summary={"slices": 5})
        folder.note(summary={"lesions": 6})
    record = record_of(tmp_path / "run")
    assert (record["verb"], record["version"], record["seed"]) == ("preview", __version__, 7)
    assert record["device"] == "cuda:0"
    assert record["machine"]["python"] == platform.python_version()
    assert record["packages"]["torch"] == metadata.version("torch")
    assert set(record["packages"]) > {"numpy", "monai", "scikit-learn", "SimpleITK"}
    assert record["started"].endswith("+00:00")
    assert record["duration_s"] >= 0
    assert record["summary"] == {"slices": 5, "lesions": 6}
    assert record["resumed"] is False


def test_record_holds_the_commit_of_the_checkout(tmp_path: Path) -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git checkout")
    with run(tmp_path / "run"):
        pass
    git = record_of(tmp_path / "run")["git"]
    assert git["commit"] == done.stdout.strip()
    assert isinstance(git["dirty"], bool)


def test_package_that_was_installed_is_not_given_the_commit_of_the_checkout_around_it() -> None:
    assert git_state(Path(torch.__file__).parent) is None


def test_folder_outside_of_any_checkout_has_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_package_that_is_missing_has_no_version() -> None:
    found = package_versions(("numpy", "no-such-package"))
    assert found == {"numpy": metadata.version("numpy"), "no-such-package": None}


def test_record_says_running_inside_and_done_after(tmp_path: Path) -> None:
    with run(tmp_path / "run"):
        assert record_of(tmp_path / "run")["status"] == "running"
    assert record_of(tmp_path / "run")["status"] == "done"


def test_failed_run_says_so_and_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the data ran out"):
        fail(tmp_path / "run")
    assert record_of(tmp_path / "run")["status"] == "failed"
    assert "DataError: the data ran out" in (tmp_path / "run" / "log.txt").read_text()


def test_log_ends_with_the_run(tmp_path: Path) -> None:
    logger = logging.getLogger("covidssl.store")
    with run(tmp_path / "run"):
        logger.warning("inside")
    logger.warning("outside")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "WARNING inside" in text
    assert "outside" not in text


def test_resolved_configuration_stands_in_the_folder(tmp_path: Path) -> None:
    config = load_config(PreviewConfig, None, ["seed=3", "frame.size=64"])
    with run(tmp_path / "run", config):
        pass
    assert load_config(PreviewConfig, tmp_path / "run" / "config.yaml") == config


def test_existing_output_is_refused(tmp_path: Path) -> None:
    with run(tmp_path):
        write_text(tmp_path / "product", "kept")
    before = record_of(tmp_path)
    with pytest.raises(UsageError, match=r"exists already\. Use --resume .* --overwrite .* --out"):
        run(tmp_path)
    assert (tmp_path / "product").read_text() == "kept"
    assert record_of(tmp_path) == before


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "out", "mine")
    with pytest.raises(UsageError, match="exists already"):
        run(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_empty_folder_may_be_written(tmp_path: Path) -> None:
    with run(tmp_path) as folder:
        assert not folder.resumed
    assert record_of(tmp_path)["status"] == "done"


@pytest.mark.parametrize("if_exists", ["resume", "overwrite"])
def test_output_that_is_not_there_yet_is_begun(if_exists: IfExists, tmp_path: Path) -> None:
    with run(tmp_path / "new", if_exists=if_exists) as folder:
        assert (folder.resumed, folder.done) == (False, False)


ANOTHER = """
import sys
from pathlib import Path
from covidssl.errors import UsageError
from covidssl.experiments import PreviewConfig
from covidssl.runs import RunFolder
for path, if_exists in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        with RunFolder(Path(path), "preview", PreviewConfig(), if_exists):
            print("went in")
    except UsageError as error:
        print(error)
"""


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    inside, ended = tmp_path / "inside", tmp_path / "ended"
    with run(ended):
        pass
    arguments = [str(inside), "resume", str(inside), "overwrite", str(ended), "overwrite"]
    with run(inside):
        write_text(inside / "product", "mine")
        command = [sys.executable, "-c", ANOTHER, *arguments]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert (inside / "product").read_text() == "mine"
    busy = "another 'covidssl preview' is working in it. Wait"
    assert [busy in line for line in said.splitlines()] == [True, True, False]
    assert said.splitlines()[2] == "went in"


def test_readers_of_a_run_that_was_killed_do_not_keep_its_folder(tmp_path: Path) -> None:
    folder = run(tmp_path)
    reader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    reader.start()
    del folder  # as a kill takes the process away, and its reader lives on
    with run(tmp_path, if_exists="resume") as again:
        assert again.resumed
        assert reader.is_alive()
    reader.kill()
    reader.join()


def test_a_folder_is_looked_at_without_being_touched(tmp_path: Path) -> None:
    with run(tmp_path / "run", PreviewConfig(seed=1)):
        pass
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(UsageError, match="exists already"):
        look_at_run(tmp_path / "run", "preview", PreviewConfig(seed=1), "refuse")
    with pytest.raises(UsageError, match="seed: 1 -> 2"):
        rehearsed_run(tmp_path / "run", "preview", PreviewConfig(seed=2), "resume")
    found = rehearsed_run(tmp_path / "run", "preview", PreviewConfig(seed=1), "resume")
    assert (found.resumed, found.done, found.writes) == (True, True, False)
    look_at_run(tmp_path / "new", "preview", PreviewConfig(), "refuse")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_overwrite_begins_again_with_nothing(tmp_path: Path) -> None:
    with run(tmp_path, PreviewConfig(seed=1)):
        write_text(tmp_path / "deep" / "product", "old")
    with run(tmp_path, PreviewConfig(seed=2), "overwrite") as folder:
        assert (folder.resumed, folder.done) == (False, False)
        assert not (tmp_path / "deep").exists()
    assert record_of(tmp_path)["seed"] == 2


@pytest.mark.parametrize("if_exists", ["resume", "overwrite"])
def test_folder_that_covidssl_did_not_make_is_not_touched(
    if_exists: IfExists, tmp_path: Path
) -> None:
    write_text(tmp_path / "thesis.txt", "ten years")
    with pytest.raises(UsageError, match="not a folder that 'covidssl preview' made; nothing in"):
        run(tmp_path, if_exists=if_exists)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"verb": "prepare"}'])
def test_overwrite_spares_a_folder_with_a_record_that_is_not_of_this_verb(
    content: str, tmp_path: Path
) -> None:
    write_text(tmp_path / "record.json", content)
    with pytest.raises(UsageError, match="nothing in it was touched"):
        run(tmp_path, if_exists="overwrite")
    assert (tmp_path / "record.json").read_text() == content


def test_resume_goes_on_with_a_run_that_failed(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fail(tmp_path)
    with run(tmp_path, if_exists="resume") as folder:
        assert (folder.resumed, folder.done) == (True, False)
    record = record_of(tmp_path)
    assert (record["status"], record["resumed"]) == ("done", True)


def test_resume_of_a_run_that_is_done_says_so_and_changes_nothing(tmp_path: Path) -> None:
    with run(tmp_path) as folder:
        folder.note(summary={"slices": 5})
    before = (tmp_path / "record.json").read_bytes()
    with run(tmp_path, if_exists="resume") as folder:
        assert folder.done
    assert (tmp_path / "record.json").read_bytes() == before


def test_resume_of_a_run_that_was_killed_before_it_had_a_configuration_begins(
    tmp_path: Path,
) -> None:
    with run(tmp_path):
        pass
    (tmp_path / "config.yaml").unlink()
    with run(tmp_path, if_exists="resume") as folder:
        assert not folder.resumed
    assert (tmp_path / "config.yaml").is_file()


def test_resume_with_a_changed_configuration_lists_the_keys(tmp_path: Path) -> None:
    with run(tmp_path):
        pass
    changed = load_config(PreviewConfig, None, ["seed=9", "lesions.clean_share=0.5"])
    with pytest.raises(UsageError, match="the configuration has changed: ") as refusal:
        run(tmp_path, changed, "resume")
    assert "seed: 0 -> 9" in str(refusal.value)
    assert "lesions.clean_share: " in str(refusal.value)
    assert "frame" not in str(refusal.value)
    assert record_of(tmp_path)["seed"] == 0


def test_resume_may_change_what_the_result_does_not_depend_on(tmp_path: Path) -> None:
    def start(if_exists: IfExists, *settings: str) -> RunFolder:
        config = load_config(PretrainConfig, None, settings)
        return RunFolder(tmp_path, "pretrain", config, if_exists)

    with start("refuse"):
        pass
    free = ["training.workers=3", "training.keep_checkpoints=5", "training.checkpoint_minutes=1",
            "checkpoint_every=7"]  # fmt: skip
    with start("resume", *free) as folder:
        assert folder.resumed
    with pytest.raises(UsageError, match="has changed: training.batch_size: 32 -> 7") as refusal:
        start("resume", "training.workers=1", "training.batch_size=7")
    assert "workers" not in str(refusal.value)


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoppedError), run(tmp_path):
        raise StoppedError("stopped by SIGTERM after step 5", 15)
    assert record_of(tmp_path)["status"] == "stopped"
    assert "WARNING stopped by SIGTERM after step 5" in (tmp_path / "log.txt").read_text()


def test_of_several_processes_only_the_first_writes(tmp_path: Path) -> None:
    config = PreviewConfig()
    with open_run(Alone(), tmp_path, "preview", config, "refuse") as first:
        first.note_data(store="ours")
        before = sorted(tmp_path.iterdir()), record_of(tmp_path)
        with FollowedRun(tmp_path, Opened(False, True, {"store": "ours"})) as other:
            other.note(device="cuda:1")
            other.note_data(store="ours", more="x")
            assert (other.writes, other.resumed, other.done) == (False, True, False)
            with pytest.raises(UsageError, match="its data changed"):
                other.note_data(store="theirs")
        assert (sorted(tmp_path.iterdir()), record_of(tmp_path)) == before


def test_a_refusal_of_the_first_process_ends_the_others(tmp_path: Path) -> None:
    write_text(tmp_path / "mine.txt", "mine")
    with pytest.raises(UsageError, match="exists already"):
        open_run(Alone(), tmp_path, "preview", PreviewConfig(), "refuse")
    with pytest.raises(EndedElsewhereError, match="refused by the first process"):
        open_run(Second(), tmp_path, "preview", PreviewConfig(), "refuse")


def test_resume_of_a_configuration_of_another_version_is_refused_with_its_key(
    tmp_path: Path,
) -> None:
    with run(tmp_path):
        pass
    write_text(tmp_path / "config.yaml", "seed: 0\nancient_key: 1\n")
    with pytest.raises(UsageError, match=r"cannot be resumed, another version.*'ancient_key'"):
        run(tmp_path, if_exists="resume")


def test_resume_on_other_data_is_refused_however_often_it_is_tried(tmp_path: Path) -> None:
    def learn(store: str, if_exists: IfExists = "resume") -> None:
        with run(tmp_path, if_exists=if_exists) as folder:
            folder.note_data(store=store)
            raise DataError("killed")

    with pytest.raises(DataError, match="killed"):
        learn("first", "refuse")
    for _ in range(2):
        with pytest.raises(
            UsageError, match="cannot be resumed, its data changed since it was started: store"
        ):
            learn("second")
    assert record_of(tmp_path)["data"] == {"store": "first"}
    with pytest.raises(DataError, match="killed"):
        learn("first")


def test_duration_of_a_resumed_run_counts_all_its_parts(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fail(tmp_path)
    record = record_of(tmp_path) | {"duration_s": 1000.0}
    write_text(tmp_path / "record.json", json.dumps(record))
    with run(tmp_path, if_exists="resume"):
        pass
    assert 1000 <= record_of(tmp_path)["duration_s"] < 1100


def test_metrics_have_a_row_a_step_with_every_digit_of_the_loss(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, range(1, 4))
    rows = read_csv(path)
    assert list(rows[0]) == ["step", "loss", "part", "lr", "images_per_second"]
    assert [float(row["loss"]) for row in rows] == [1 / 3, 1 / 4, 1 / 5]


def test_metrics_are_there_while_the_run_goes_on(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv", [], 0)
    metrics.write(StepReport(1, 0.5, {}, 1e-3, 1.0))
    assert len(read_csv(tmp_path / "metrics.csv")) == 1
    metrics.close()


def test_metrics_are_cut_back_to_the_checkpoint_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, range(1, 8))
    whole = path.read_text()
    write_metrics(path, range(5, 8), from_step=4)
    assert path.read_text() == whole
    write_metrics(path, range(1, 1), from_step=0)
    assert read_csv(path) == []


@pytest.mark.parametrize("cut", [1, 2, 8, 20])
def test_torn_last_row_is_dropped(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, range(1, 4))
    path.write_bytes(path.read_bytes()[:-cut])
    write_metrics(path, range(4, 5), from_step=3)
    assert [row["step"] for row in read_csv(path)] == ["1", "2", "4"]
    assert {row["images_per_second"] for row in read_csv(path)} == {"12.3"}


def test_torn_heading_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,lo")
    write_metrics(path, range(1, 2))
    assert [row["step"] for row in read_csv(path)] == ["1"]
