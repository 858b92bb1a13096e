"""The command: an example a verb, one message a refusal, and an exit code that means something."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import torch
from typer.testing import CliRunner

import covidssl
from covidssl.cli import app, main
from covidssl.errors import (
    CovidsslError,
    DataError,
    ScanError,
    TrainingError,
    UsageError,
    WeightsError,
)
from covidssl.files import read_csv, write_text
from covidssl.version import __version__
from tests.foreign.layout_files import genesis
from tests.model_folders import write_untrained_model
from tests.scan_files import chest_grey, write_png

VERBS = (
    "download", "prepare", "pack", "audit", "preview", "pretrain", "finetune", "evaluate",
    "compare", "predict", "report", "import-weights", "export", "doctor",
    "robustness",
    "view",
)  # fmt: skip
TRAINING = ("pretrain", "finetune", "preview")
READERS = {"SimpleITK", "nibabel", "pydicom"}
WIDE = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command sets up logging for its process; here it is one of many tests."""
    logger = logging.getLogger("covidssl")
    before = logger.handlers[:], logger.level
    yield
    logger.handlers[:], level = before
    logger.setLevel(level)


def call(*arguments: object) -> Any:
    return CliRunner(env=WIDE).invoke(app, [str(argument) for argument in arguments])


class Said(NamedTuple):
    """How the command ended."""

    code: int
    out: str
    err: str


def shell(*arguments: object) -> Said:
    """The command as a program of its own; it takes seconds to begin."""
    command = [sys.executable, "-m", "covidssl.cli", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return Said(done.returncode, done.stdout, done.stderr)


class Shell(Protocol):
    def __call__(self, *arguments: object) -> Said: ...


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    """What the program does, in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["covidssl", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Said(int(end.value.code or 0), *capfd.readouterr())

    return run


def loaded_after(statement: str) -> set[str]:
    """Modules that a fresh Python has loaded after a statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def pictures(folder: Path, count: int = 2) -> Path:
    for number in range(count):
        write_png(folder / f"{number}.png", chest_grey(64, seed=number))
    return folder


def prepared(folder: Path) -> Path:
    done = call("prepare", pictures(folder / "pictures"), "--out", folder / "store")
    assert done.exit_code == 0, done.output
    return folder / "store"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder of a network that has learnt nothing."""
    return write_untrained_model(tmp_path / "model")


# What it says of itself


def test_version_is_printed() -> None:
    done = call("--version")
    assert (done.exit_code, done.output) == (0, f"covidssl {__version__}\n")


def test_help_names_every_verb_and_what_it_is_for() -> None:
    done = call("--help")
    assert done.exit_code == 0
    assert "not a medical device" in done.output
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", done.output)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_an_example(verb: str) -> None:
    done = call(verb, "--help")
    assert done.exit_code == 0
    assert f"Example: covidssl {verb}" in done.output


def test_every_verb_has_been_named() -> None:
    named = {
        info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands
    }
    assert named == set(VERBS)


# What is loaded


def test_import_of_the_package_is_quick() -> None:
    loaded = loaded_after("import covidssl")
    assert not loaded & {"torch", "monai", "numpy", "scipy", "matplotlib", "typer", *READERS}


def test_help_does_not_wait_for_torch() -> None:
    statement = (
        "from covidssl.cli import app\n"
        "try:\n    app(['pretrain', '--help'])\nexcept SystemExit:\n    pass"
    )
    assert not loaded_after(statement) & {"torch", "monai", *READERS}


def test_training_needs_no_reader_of_files() -> None:
    """A bare GPU node has torch and prepared data; MONAI takes nibabel where it finds it."""
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in READERS)
    verbs = ", ".join(f"covidssl.commands.{verb}" for verb in TRAINING)
    loaded = loaded_after(f"import sys\n{absent}import {verbs}")
    assert "covidssl.commands.pretrain" in loaded


@pytest.mark.parametrize("name", covidssl.__all__)
def test_every_name_of_the_package_is_there(name: str) -> None:
    found = getattr(covidssl, name)
    assert found == __version__ if name == "__version__" else callable(found)
    assert name in dir(covidssl)


def test_name_that_the_package_does_not_offer_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'covidssl' has no attribute 'nothing'"):
        covidssl.nothing  # noqa: B018


# Wrong usage: exit code 2, one message, no traceback


def assert_refused(done: Said, said: str) -> None:
    assert done.code == 2
    assert "Traceback" not in done.err
    assert done.err.count("Error") == done.err.count("\n") == 1
    assert done.out == ""
    assert re.search(said, done.err)


def test_existing_output_is_refused_by_one_message(tmp_path: Path) -> None:
    write_text(tmp_path / "out" / "thesis.txt", "ten years")
    pictures(tmp_path / "in")
    done = shell("prepare", tmp_path / "in", "--out", tmp_path / "out")
    assert_refused(done, f"^Error: {tmp_path}/out: exists already. Use --resume")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_unknown_key_is_refused_by_one_message(run_main: Shell, tmp_path: Path) -> None:
    done = run_main("pretrain", "--data", "store", "--out", tmp_path / "out", "--set", "sed=1")
    assert_refused(done, "unknown key 'sed'. Did you mean 'seed'?")
    assert not (tmp_path / "out").exists()


def test_resume_with_overwrite_is_refused_by_one_message(run_main: Shell, tmp_path: Path) -> None:
    done = run_main("preview", "store", "--out", tmp_path / "out", "--resume", "--overwrite")
    assert_refused(done, "--resume goes on with a run, --overwrite deletes it: give one of them")


def test_unknown_option_is_refused(run_main: Shell, tmp_path: Path) -> None:
    done = run_main("prepare", tmp_path, "--out", tmp_path / "out", "--fast")
    assert done.code == 2
    assert "No such option: --fast" in done.err


def test_message_in_square_brackets_is_printed_whole(run_main: Shell, tmp_path: Path) -> None:
    done = run_main("prepare", tmp_path / "[red]no[/red]", "--out", tmp_path / "out")
    assert_refused(done, r"\[red\]no\[/red\]: there is no such file or folder")


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError, 2), (DataError, 2), (WeightsError, 2), (ScanError, 2), (TrainingError, 1)],
)
def test_refusal_ends_with_its_exit_code(
    error: type[CovidsslError], code: int, run_main: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise error("no, because of this")

    monkeypatch.setattr(covidssl.cli, "app", refuse)
    assert run_main("doctor") == Said(code, "", "Error: no, because of this\n")


def test_interrupt_tells_how_to_go_on(run_main: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(covidssl.cli, "app", interrupt)
    assert run_main("doctor") == Said(130, "", "Stopped. Go on with --resume.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prepare", "{tmp}/nowhere"), "there is no such file or folder"),
        (("preview", "{tmp}/nowhere"), "nowhere"),
        (("pretrain", "--data", "{tmp}/nowhere"), "nowhere"),
        (("pretrain", "--data", "x", "-c", "{tmp}/none.yaml"), "no such configuration file"),
        (("pretrain", "--data", "x", "--set", "seed"), "expected key=value"),
        (("finetune", "--data", "{tmp}/nowhere", "--encoder", "none"), "two class folders"),
        (("finetune", "--data", "x", "--encoder", "{tmp}/gone"), "no such weights file"),
        (("evaluate", "{tmp}/nowhere", "--data", "x"), "nowhere: there is no such folder."),
        (("predict", "{tmp}/nowhere", "x"), "nowhere: there is no such folder."),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_written(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    done = call(*given, "--out", tmp_path / "out")
    assert isinstance(done.exception, CovidsslError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("download", "doctor")])
def test_verb_without_arguments_is_refused(verb: str) -> None:
    done = call(verb)
    assert done.exit_code == 2
    assert "Missing" in done.output


def test_device_that_does_not_exist_is_refused(model: Path, tmp_path: Path) -> None:
    done = call(
        "predict", model, pictures(tmp_path / "in"), "-o", tmp_path / "o", "--device", "qpu"
    )
    assert done.exit_code == 2
    assert re.search("--device.*'qpu'.*auto.*cpu.*cuda", " ".join(done.output.split()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
def test_device_that_is_not_here_is_refused_before_scans_are_read(tmp_path: Path) -> None:
    done = call(
        "finetune", "--data", tmp_path, "--encoder", "none", "-o", tmp_path / "o",
        "--device", "cuda",
    )  # fmt: skip
    assert isinstance(done.exception, UsageError)
    assert "PyTorch sees no CUDA device here" in str(done.exception)


# What it does


def test_prepare_writes_a_store_and_says_so(run_main: Shell, tmp_path: Path) -> None:
    done = run_main("prepare", pictures(tmp_path / "in"), "--out", tmp_path / "store")
    assert done.code == 0
    assert done.out == f"{tmp_path}/store: 2 ok, 0 warned, 0 dropped, 0 failed\n"
    record = json.loads((tmp_path / "store" / "record.json").read_text())
    assert (record["verb"], record["status"]) == ("prepare", "done")


def test_configuration_and_overrides_reach_the_run(tmp_path: Path) -> None:
    write_text(tmp_path / "c.yaml", "seed: 5\nmin_lung_share: 0.01\n")
    done = call(
        "prepare", pictures(tmp_path / "in"), "-o", tmp_path / "store", "-c", tmp_path / "c.yaml",
        "--set", "min_lung_share=0.02",
    )  # fmt: skip
    assert done.exit_code == 0
    text = (tmp_path / "store" / "config.yaml").read_text()
    assert "seed: 5" in text
    assert "min_lung_share: 0.02" in text


def test_preview_prints_the_path_of_its_sheet(tmp_path: Path) -> None:
    done = call(
        "preview", prepared(tmp_path), "--out", tmp_path / "look", "--set", "slices=2",
        "--set", "frame.size=64",
    )  # fmt: skip
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/look/preview.png\n")
    assert (tmp_path / "look" / "preview.png").is_file()


def test_predict_exits_with_0_when_every_scan_was_answered(model: Path, tmp_path: Path) -> None:
    done = call("predict", model, pictures(tmp_path / "in"), "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path}/out/predictions.csv\n"
    assert len(read_csv(tmp_path / "out" / "predictions.csv")) == 2


def test_predict_exits_with_1_when_a_scan_has_no_answer(model: Path, tmp_path: Path) -> None:
    write_text(pictures(tmp_path / "in") / "broken.png", "no picture")
    done = shell("predict", model, tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 1
    assert done.out == f"{tmp_path}/out/predictions.csv (1 scan without an answer)\n"
    assert "Traceback" not in done.err
    assert "3 scans: 2 ok, 0 warned, 0 abstained, 1 failed" in done.err
    assert "Commonest reasons: unreadable (1)." in done.err
    assert [row["outcome"] for row in read_csv(tmp_path / "out" / "predictions.csv")] == [
        "ok", "ok", "failed",
    ]  # fmt: skip


def test_predict_says_what_it_would_take_and_writes_nothing(model: Path, tmp_path: Path) -> None:
    scans = pictures(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    done = call("predict", model, scans, "--out", tmp_path / "out", "--dry-run", "--hash-paths")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[:2] == ["found: 2 picture", "to answer: 2"]
    assert lines[2].startswith("time, from 2 scans tried: 0:00:")
    assert re.fullmatch(r"disk: .* of .* free", lines[3])
    assert sorted(tmp_path.rglob("*")) == before
    call("predict", model, scans / "0.png", "--out", tmp_path / "out")
    done = call("predict", model, scans, "--out", tmp_path / "out", "--resume", "--dry-run")
    assert "answered already: 1\nto answer: 1\n" in done.stdout


def test_predict_answers_in_shards_and_joins_them(model: Path, tmp_path: Path) -> None:
    scans, out = pictures(tmp_path / "in", 6), tmp_path / "out"
    for shard in ("1/2", "2/2"):
        done = call("predict", model, scans, "--out", out, "--shard", shard, "--no-maps")
        table = f"{out}/shard-{shard.replace('/', '-of-')}/predictions.csv"
        assert (done.exit_code, done.stdout) == (0, f"{table}\n")
    done = call("predict", model, scans, "--out", out, "--join", "--no-maps")
    assert (done.exit_code, done.stdout) == (0, f"{out}/predictions.csv\n")
    assert len(read_csv(out / "predictions.csv")) == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--join", "--shard", "1/2"], "give it alone"),
        (["--shard", "3/2"], "expected i/n"),
        (["--dicom", "--hash-paths"], "hides names: give one of them"),
        (["--dicom", "--no-maps"], "makes none: give one of them"),
    ],
)
def test_predict_refuses_options_that_do_not_go_together(
    run_main: Shell, model: Path, tmp_path: Path, given: list[str], said: str
) -> None:
    done = run_main("predict", model, pictures(tmp_path / "in"), "--out", tmp_path / "out", *given)
    assert_refused(done, said)
    assert not (tmp_path / "out").exists()


def test_predict_without_a_readable_model_exits_with_2(
    run_main: Shell, model: Path, tmp_path: Path
) -> None:
    torch.save({}, model / "classifier.safetensors")
    done = run_main("predict", model, pictures(tmp_path / "in"), "--out", tmp_path / "out")
    assert_refused(done, "this is a pickle")


def test_report_is_not_overwritten_unasked(tmp_path: Path) -> None:
    run, page = prepared(tmp_path), tmp_path / "report.html"
    assert call("report", run, "--out", page).exit_code == 0
    before = page.read_bytes()
    done = call("report", run, "--out", page)
    assert isinstance(done.exception, UsageError)
    assert page.read_bytes() == before
    assert call("report", run, "--out", page, "--overwrite").exit_code == 0


def test_doctor_prints_a_table() -> None:
    done = call("doctor")
    assert done.exit_code == 0
    assert "torch" in done.output
    assert "free disk here" in done.output


# Weights from elsewhere, and for elsewhere


def test_import_says_how_many_tensors_matched_and_what_was_left(tmp_path: Path) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in genesis().items()}
    del tensors["module.down_tr64.ops.0.conv1.bias"]
    torch.save({"state_dict": tensors}, tmp_path / "w.pt")
    arguments = ("import-weights", tmp_path / "w.pt", "--layout", "models_genesis", "--seed", 3)
    done = call(*arguments, "--out", tmp_path / "encoder")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"{tmp_path / 'encoder' / 'encoder.safetensors'}: 47 of 48 tensors matched, 1 missed",
        "missed, drawn from seed 3: levels.0.0.conv.bias",
        "in the file, not needed: out_tr.final_conv.weight, up_tr64.up_conv.weight",
    ]


def test_export_says_how_far_the_written_file_is_from_the_model(
    model: Path, tmp_path: Path
) -> None:
    done = call("export", model, "--format", "pt2", "--out", tmp_path / "m.pt2")
    assert done.exit_code == 0, done.output
    first, second = done.output.splitlines()[-2:]
    assert first == f"{tmp_path / 'm.pt2'}"
    assert re.fullmatch(r"checked on 100 inputs: probabilities differ by at most .*", second)
