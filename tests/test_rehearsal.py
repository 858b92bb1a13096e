"""Before a run: what it would take is told from its own steps, and the batch is what fits."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from covidssl.augment import AugmentRanges
from covidssl.clean_slices import open_slices, stored_pictures
from covidssl.cli import app
from covidssl.commands import evaluate, finetune, prepare, pretrain
from covidssl.config import load_config
from covidssl.diagnosis import DiagnosisTask, FramesInMemory, LabelledBatch
from covidssl.errors import DataError, TrainingError, UsageError
from covidssl.experiments import FinetuneConfig, PrepareConfig, PretrainConfig
from covidssl.files import write_csv
from covidssl.finetuning import Places
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.io import write_volume
from covidssl.learning import Learning, learn
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.phantom import phantom_chest
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.rehearsal import (
    Line,
    Products,
    Trial,
    fitted_finetuning,
    fitted_pretraining,
    forecast,
    free_bytes,
    ladder,
    largest_batch,
    out_of_memory,
    rehearse_finetuning,
    rehearse_pretraining,
    with_fitting_batch,
)
from covidssl.runs import IfExists
from covidssl.training import Machines, Process, Share, TrainingPlan, TrainingState, make_fabric

SHAPE, SPACING = (6, 72, 72), (16.0, 4.8, 4.8)
SMALL = ["frame.size=32", "frame.pixels=hu", "encoder.channels=[8,8,16]"]
PRETRAIN = [*SMALL, "training.steps=6", "training.batch_size=4", "training.warmup_steps=2",
            "training.ema_decay=0.9", "checkpoint_every=2", "pictures_every=3"]  # fmt: skip
FINETUNE = [*SMALL, "training.steps=4", "training.batch_size=8", "validate_every=2"]
MIB = 2**20


class Bench:
    """A small store, labelled scans, and places for runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.labels = root, root / "store", root / "labelled" / "labels.csv"
        for k in range(2):
            write_volume(phantom_chest(k, False, SHAPE, SPACING).ct, root / f"scans/p{k}.nii.gz")
        prepare.main(PrepareConfig(), [root / "scans"], self.store)
        rows = []
        for k in range(14):
            name, label = f"p{k:02d}.nii.gz", "COVID" if k % 2 else "non-COVID"
            scan = phantom_chest(100 + k, bool(k % 2), SHAPE, SPACING).ct
            write_volume(scan, self.labels.parent / name)
            split = ("train", "train", "train", "validation", "validation", "test", "test")[k // 2]
            rows.append({"path": name, "label": label, "patient": f"person-{k}", "split": split})
        write_csv(self.labels, ("path", "label", "patient", "split"), rows)

    def places(self, out: Path, cache: Path | None = None) -> Places:
        return Places(out, None, cache=cache, device="cpu")

    @property
    def files(self) -> dict[str, int]:
        """All files with the time of their last change."""
        return {str(p): p.stat().st_mtime_ns for p in self.root.rglob("*")}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def pretrain_config(*more: str) -> PretrainConfig:
    return load_config(PretrainConfig, None, [*PRETRAIN, *more])


def finetune_config(*more: str) -> FinetuneConfig:
    return load_config(FinetuneConfig, None, [*FINETUNE, *more])


def found(lines: list[Line]) -> dict[str, str]:
    return {line.what: line.found for line in lines}


def trial_of(size: int, batch_size: int = 4, pictures: int = 2000, device: str = "cpu") -> Trial:
    """A small classifier on noise of this size."""
    frames = numpy_generator(1).integers(0, 65535, (8, size, size)).astype("uint16")
    data = FramesInMemory(frames, numpy_generator(2).integers(0, 2, 8))
    repeated = torch.utils.data.Subset(data, [place % 8 for place in range(pictures)])
    plan = TrainingPlan(steps=50, batch_size=batch_size, ema_decay=0.9)
    fabric = make_fabric(device, plan.precision)
    with initial_weights(0):
        network = CovidClassifier(build_encoder(EncoderPlan(channels=(8, 16))))
    network.to(fabric.device)
    state = TrainingState(network, torch.optim.AdamW(network.parameters()))
    task = DiagnosisTask(AugmentRanges(), LUNG_WINDOW_HU, data.target, 0)
    return Trial(fabric, state, repeated, task, plan, seed=0)


# What a run would take


def test_a_dry_run_of_pretraining_leaves_nothing_behind(bench: Bench) -> None:
    before = bench.files
    rehearse_pretraining(pretrain_config(), bench.store, bench.root / "none", device="cpu")
    assert bench.files == before


def test_a_dry_run_says_what_the_run_then_takes(bench: Bench, tmp_path: Path) -> None:
    config, out = pretrain_config(), tmp_path / "run"
    said = found(rehearse_pretraining(config, bench.store, out, device="cpu"))
    pretrain.main(config, bench.store, out, device="cpu")
    weights = load_file(out / "restoration.safetensors")
    assert said["parameters"] == f"{sum(tensor.numel() for tensor in weights.values()):,}"
    (checkpoint, *_) = sorted((out / "checkpoints").glob("step-*.safetensors"))
    assert in_bytes(said["a checkpoint"]) == pytest.approx(checkpoint.stat().st_size, rel=0.1)
    taken = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert taken <= in_bytes(said["disk"].split(" at")[0]) < taken + 4 * MIB
    assert re.fullmatch(r"\d+ to learn from, \d+ left out", said["slices"])


def in_bytes(text: str) -> float:
    number, unit = text.split()[:2]
    return float(number) * {"bytes": 1, "KiB": 2**10, "MiB": MIB, "GiB": 2**30}[unit]


def test_speed_memory_and_time_are_measured(tmp_path: Path) -> None:
    trial = trial_of(64, batch_size=32)
    took = forecast(trial, tmp_path / "none", Products(1000))
    # Feature maps alone: eight channels at full size, some of them kept for the gradient.
    assert took.memory_bytes > 32 * 8 * 64**2 * 4
    assert took.images_per_second > 0
    assert took.seconds == pytest.approx(50 * 32 / took.images_per_second)
    assert took.memory_free_bytes == pytest.approx(free_bytes(torch.device("cpu")), rel=0.5)


def test_steps_are_taken_on_a_copy(tmp_path: Path) -> None:
    trial = trial_of(32)
    before = copy.deepcopy(trial.state.network.state_dict())
    forecast(trial, tmp_path, Products(0))
    assert (trial.state.step, trial.state.ema) == (0, None)
    assert not trial.state.optimizer.state
    for name, tensor in trial.state.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_too_little_disk_is_said(tmp_path: Path) -> None:
    took = forecast(trial_of(32), tmp_path, Products(2**60))
    assert found(took.lines())["disk"].endswith("NOT ENOUGH")


def test_a_dry_run_of_fine_tuning_says_what_must_be_cut_first(bench: Bench) -> None:
    before = bench.files
    places = bench.places(bench.root / "none", bench.root / "cache")
    said = found(rehearse_finetuning(finetune_config(), bench.labels, places))
    assert said["frames"].startswith("not in a cache: 14 scans are cut first, about ")
    assert said["train"] == "6 scans (3 non-COVID, 3 COVID)"
    assert said["tried"] == "10 scans, 0 of them could not be read"
    assert bench.files == before


def test_a_dry_run_of_fine_tuning_uses_the_cache(bench: Bench, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "run"
    places = bench.places(out, cache)
    config = finetune_config()
    finetune.main(config, bench.labels, places)
    kept = [path.stat().st_mtime_ns for path in cache.iterdir()]
    said = found(rehearse_finetuning(config, bench.labels, bench.places(tmp_path / "no", cache)))
    assert said["frames"] == "in the cache, none must be cut"
    assert re.fullmatch(r"4 scans \(2 non-COVID, 2 COVID\), \d+ frames", said["validation"])
    assert said["left out"] == "0 scans that could not be read"
    (checkpoint, *_) = sorted((out / "checkpoints").glob("step-*.safetensors"))
    assert in_bytes(said["a checkpoint"]) == pytest.approx(checkpoint.stat().st_size, rel=0.1)
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == kept
    assert not (tmp_path / "no").exists()


def test_a_dry_run_is_refused_where_the_run_would_be(bench: Bench, tmp_path: Path) -> None:
    rows = [
        {"path": f"p{k:02d}.nii.gz", "label": "COVID" if k % 2 else "non-COVID",
         "patient": "the same", "split": ("train", "validation", "test")[k // 2 % 3]}
        for k in range(14)
    ]  # fmt: skip
    leaking = bench.labels.with_name("leaking.csv")
    write_csv(leaking, ("path", "label", "patient", "split"), rows)
    with pytest.raises(DataError, match="leaks"):
        rehearse_finetuning(finetune_config(), leaking, bench.places(tmp_path / "none"))


def test_a_dry_run_is_refused_what_the_run_is_refused(bench: Bench, tmp_path: Path) -> None:
    out, config = tmp_path / "run", pretrain_config()
    pretrain.main(config, bench.store, out, device="cpu")

    def rehearse(config: PretrainConfig, where: Path, if_exists: IfExists = "refuse") -> None:
        rehearse_pretraining(config, bench.store, where, None, "cpu", if_exists)

    with pytest.raises(UsageError, match="exists already"):
        rehearse(config, out)
    with pytest.raises(UsageError, match="has changed: training.steps: 6 -> 9"):
        rehearse(pretrain_config("training.steps=9"), out, "resume")
    nowhere = config.probing(tmp_path / "nowhere.csv", None)
    with pytest.raises(UsageError, match=r"nowhere\.csv"):
        rehearse(nowhere, tmp_path / "new")
    with pytest.raises(UsageError, match="exists already"):
        rehearse_finetuning(finetune_config(), bench.labels, bench.places(out))


def test_a_run_that_is_refused_its_labelled_set_leaves_no_folder(
    bench: Bench, tmp_path: Path
) -> None:
    nowhere = pretrain_config().probing(tmp_path / "nowhere.csv", None)
    with pytest.raises(UsageError, match=r"nowhere\.csv"):
        pretrain.main(nowhere, bench.store, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_taken_for_one_that_was_probed_on_other_labels(
    bench: Bench, tmp_path: Path
) -> None:
    config = pretrain_config("quality.every=3", "quality.folds=3", "quality.gap=0")
    pretrain.main(config, bench.store, tmp_path / "run", device="cpu")
    pretrain.main(config, bench.store, tmp_path / "run", "resume", device="cpu")
    probed = config.probing(bench.labels, None)
    with pytest.raises(UsageError, match="its data changed since it was started: probe"):
        pretrain.main(probed, bench.store, tmp_path / "run", "resume", device="cpu")


def test_a_dry_run_of_a_run_that_is_gone_on_with_counts_what_is_left(
    bench: Bench, tmp_path: Path
) -> None:
    out, config = tmp_path / "run", pretrain_config()
    pretrain.main(config, bench.store, out, device="cpu")

    def rehearse() -> dict[str, str]:
        lines = rehearse_pretraining(config, bench.store, out, None, "cpu", "resume")
        return found(lines)

    assert rehearse()["steps"] == "none: the run is finished already"
    record = json.loads((out / "record.json").read_text())
    (out / "record.json").write_text(json.dumps(record | {"status": "stopped"}))
    (out / "checkpoints" / "step-00000006.safetensors").unlink()
    assert rehearse()["time to the end"].endswith("for the last 2 of 6 steps")


def test_volumes_in_bf16_on_a_cpu_are_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    opening = [*PRETRAIN, "frame.depth=8", "encoder.dimensions=3", "training.precision=bf16-mixed"]
    for k in range(2):
        scan = phantom_chest(k, False, (12, 72, 72), (8.0, 4.8, 4.8)).ct
        write_volume(scan, tmp_path / f"scans/p{k}.nii.gz")
    prepare.main(PrepareConfig(), [tmp_path / "scans"], tmp_path / "store")
    config, out = load_config(PretrainConfig, None, opening), tmp_path / "run"
    for verb in (pretrain.main, rehearse_pretraining):
        with pytest.raises(UsageError, match="gradients of volumes are wrong in bf16"):
            verb(config, tmp_path / "store", out, device="cpu")
    assert not out.exists()


def test_a_probe_takes_no_steps(bench: Bench, tmp_path: Path) -> None:
    places = bench.places(tmp_path / "none")
    said = found(rehearse_finetuning(finetune_config("learns=probe"), bench.labels, places))
    assert said["steps"].startswith("none")


# The batch that fits


def test_sizes_are_powers_of_two_and_what_lies_between() -> None:
    assert ladder(16) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert ladder(15) == [1, 2, 3, 4, 6, 8, 12]


def test_a_smaller_frame_leaves_room_for_a_larger_batch() -> None:
    large, small = (largest_batch(trial_of(size), free=256 * MIB) for size in (96, 48))
    assert 1 < large < small


def test_less_memory_means_a_smaller_batch() -> None:
    little, much = (largest_batch(trial_of(96), free=free * MIB) for free in (96, 384))
    assert little < much


def test_what_was_reckoned_fits(tmp_path: Path) -> None:
    free = 200 * MIB
    size = largest_batch(trial_of(96), free=free)
    assert forecast(trial_of(96, size), tmp_path, Products(0)).memory_bytes < free


def test_a_batch_is_no_larger_than_the_data_or_the_cap() -> None:
    assert largest_batch(trial_of(32, pictures=20), free=2**40) == 16
    assert largest_batch(trial_of(32), most=7, free=2**40) == 6
    assert largest_batch(trial_of(32), free=2**40) == 512


def test_no_picture_may_fit() -> None:
    with pytest.raises(TrainingError, match="one picture takes more than 80 %"):
        largest_batch(trial_of(64), free=MIB // 4)


def test_the_batch_stands_in_the_runs_configuration_and_a_resume_keeps_it(
    bench: Bench, tmp_path: Path
) -> None:
    config, out = pretrain_config(), tmp_path / "run"
    pictures = len(stored_pictures(open_slices(bench.store), config.frame))
    chosen = fitted_pretraining(config, bench.store, out, device="cpu")
    assert not out.exists()
    assert chosen.training.batch_size == ladder(pictures)[-1]
    pretrain.main(chosen, bench.store, out, device="cpu")
    again = with_fitting_batch(config, out, "resume", lambda: pytest.fail("measured again"))
    assert again == chosen
    assert load_config(PretrainConfig, out / "config.yaml") == chosen


def test_nothing_is_measured_for_a_run_that_will_be_refused(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    config = pretrain_config()
    kept = with_fitting_batch(config, tmp_path, "refuse", lambda: pytest.fail("measured"))
    assert kept == config


def test_fine_tuning_finds_its_batch_too(bench: Bench, tmp_path: Path) -> None:
    config = fitted_finetuning(finetune_config(), bench.labels, bench.places(tmp_path / "none"))
    # Six scans learn, and each holds one frame at the least.
    assert config.training.batch_size == 6


def test_pictures_that_are_compared_with_each_other_come_in_twos_at_the_least(
    bench: Bench, tmp_path: Path
) -> None:
    config = pretrain_config("pretext={kind: simclr}", "training.batch_size=2")
    assert fitted_pretraining(config, bench.store, tmp_path / "run").training.batch_size >= 2


def test_a_batch_that_is_chosen_keeps_to_the_rest_of_the_configuration(
    bench: Bench, tmp_path: Path
) -> None:
    config = pretrain_config("pretext={kind: moco, queue: 3}", "training.batch_size=2")
    chosen = fitted_pretraining(config, bench.store, tmp_path / "run")
    assert chosen.training.batch_size == 3
    with pytest.raises(UsageError, match=r"batch-size auto: 8 .*queue 3 must hold at least the 8"):
        with_fitting_batch(config, tmp_path / "run", "refuse", lambda: 8)


# Several processes


def test_of_several_processes_one_is_tried_with_its_share(bench: Bench, tmp_path: Path) -> None:
    two = Machines("cpu", devices=2)
    said = found(rehearse_pretraining(pretrain_config(), bench.store, tmp_path / "run", device=two))
    assert said["batch"] == "4 pictures a step, 2 on each of 2 devices"
    both = replace(trial_of(96, pictures=8), processes=2)
    assert largest_batch(both, free=2**40) == 8


def test_a_batch_that_cannot_be_dealt_is_refused_before_it_starts(
    bench: Bench, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot be dealt evenly to 3 processes"):
        rehearse_pretraining(pretrain_config(), bench.store, tmp_path, device=Machines("cpu", 3))


def test_under_torchrun_nothing_is_tried(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(UsageError, match="without torchrun"):
        rehearse_pretraining(pretrain_config(), bench.store, tmp_path / "run", device="cpu")


# A device that runs out of memory


class Narrow(DiagnosisTask):
    """Runs out of memory, as a GPU says it, where more than `most` pictures come at once."""

    most = 5

    def loss(self, network: nn.Module, examples: Any) -> Any:
        if len(examples.unit) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().loss(network, examples)


class NarrowBatch(Narrow):
    """The same, for the pictures of the whole batch."""

    def examples(self, batch: LabelledBatch, share: Share) -> Any:
        if len(batch[0]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().examples(batch, share)


def narrow(kind: type[Narrow], batch_size: int = 24) -> Trial:
    trial = trial_of(32, batch_size)
    task = kind(AugmentRanges(), LUNG_WINDOW_HU, numpy_generator(2).integers(0, 2, 8), 0)
    return replace(trial, task=task)


def run_of(trial: Trial, out: Path) -> Learning:
    return Learning(out, trial.fabric, trial.data, trial.task, trial.plan, 0, 10)


def test_a_run_out_of_memory_says_which_batch_fits(tmp_path: Path) -> None:
    trial = narrow(Narrow)
    with pytest.raises(TrainingError) as refused:
        learn(run_of(trial, tmp_path), trial.state, lambda *_: None, lambda _: None)
    assert "cpu has not enough memory for batches of 24 pictures" in str(refused.value)
    assert "4 fit: --batch-size 4" in str(refused.value)
    assert "--set training.accumulate=6" in str(refused.value)


class Four:
    """Four processes, as far as the refusal looks."""

    world_size, device = 4, torch.device("cpu")


@pytest.mark.parametrize(
    ("batch_size", "smaller", "parts"), [(24, "12", "2"), (20, "8", "2"), (8, "4", "2")]
)
def test_what_is_advised_to_several_processes_can_be_dealt_to_them(
    batch_size: int, smaller: str, parts: str
) -> None:
    said = str(out_of_memory(replace(trial_of(32, batch_size), fabric=Four())))  # type: ignore[arg-type]
    assert f"--batch-size {smaller}, or the same batch" in said
    assert f"training.accumulate={parts}. It starts a run anew: choose another --out" in said
    assert len(Process(0, 4).share(int(smaller))) >= 1


def test_of_one_picture_on_each_process_there_is_nothing_less() -> None:
    said = str(out_of_memory(replace(trial_of(32, 4), fabric=Four())))  # type: ignore[arg-type]
    assert "--batch-size" not in said
    assert "Take a smaller frame or encoder" in said


@pytest.mark.parametrize("advice", ["training.batch_size=4", "training.accumulate=6"])
def test_what_is_advised_runs(tmp_path: Path, advice: str) -> None:
    trial = narrow(Narrow)
    key, value = advice.removeprefix("training.").split("=")
    plan = trial.plan.model_copy(update={key: int(value), "steps": 2})
    trial = replace(trial, plan=plan)
    learn(run_of(trial, tmp_path), trial.state, lambda *_: None, lambda _: None)
    assert trial.state.step == 2


def test_parts_are_not_advised_where_the_pictures_themselves_do_not_fit() -> None:
    assert "accumulate" not in str(out_of_memory(narrow(NarrowBatch)))


def test_a_device_too_small_for_one_picture_says_so() -> None:
    trial = narrow(Narrow)
    trial.task.most = 0  # type: ignore[attr-defined]
    assert "not for a smaller one either" in str(out_of_memory(trial))


# The command


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_plain_lines_in_a_pipe_and_starts_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    sets = [part for key in PRETRAIN for part in ("--set", key)]
    done = call("pretrain", "--data", bench.store, "--out", out, "--device", "cpu", "--dry-run",
                "--batch-size", "2", *sets)  # fmt: skip
    assert done.exit_code == 0, done.output
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert said["batch"] == "2 pictures a step"
    assert said["time to the end"].endswith("for 6 steps")
    assert not out.exists()


@pytest.mark.parametrize("given", ["0", "-4", "many", "1.5", ""])
def test_a_batch_is_a_number_or_auto(given: str, tmp_path: Path) -> None:
    done = call("pretrain", "--data", tmp_path, "--out", tmp_path / "run", f"--batch-size={given}")
    assert isinstance(done.exception, UsageError)
    assert f"--batch-size {given}: expected a whole number" in str(done.exception)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_evaluation_says_at_once_that_a_device_is_not_there(tmp_path: Path) -> None:
    beside = evaluate.Beside(device="cuda")
    with pytest.raises(UsageError, match="PyTorch sees no CUDA device"):
        evaluate.main(evaluate.EvaluateConfig(), tmp_path, tmp_path, tmp_path / "o", beside=beside)


# On a GPU


@pytest.mark.gpu
def test_a_gpu_out_of_memory_says_which_batch_fits(tmp_path: Path) -> None:
    trial = trial_of(512, batch_size=512, device="cuda")
    _, all_of_it = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(2 * 2**30 / all_of_it)
    try:
        with pytest.raises(TrainingError) as refused:
            learn(run_of(trial, tmp_path), trial.state, lambda *_: None, lambda _: None)
        fit = re.search(r"--batch-size (\d+)", str(refused.value))
        assert fit is not None
        plan = trial.plan.model_copy(update={"batch_size": int(fit[1]), "steps": 2})
        again = replace(trial, plan=plan)
        again.state.step = 0
        learn(run_of(again, tmp_path / "again"), again.state, lambda *_: None, lambda _: None)
        assert again.state.step == 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.gpu
def test_a_gpu_gets_a_batch_that_fits_its_memory(tmp_path: Path) -> None:
    free = 2**30
    size = largest_batch(trial_of(256, device="cuda"), free=free)
    assert 1 < size < 512
    took = forecast(trial_of(256, size, device="cuda"), tmp_path, Products(0))
    assert took.memory_bytes <= free
