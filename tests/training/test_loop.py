"""The loop: what it learns from depends on (seed, step) alone, and a killed run goes on exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from covidssl.augment import AugmentRanges
from covidssl.checkpoint import load_checkpoint, save_checkpoint
from covidssl.diagnosis import DiagnosisTask, FramesInMemory
from covidssl.errors import TrainingError, UsageError
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.training import (
    NonFiniteLossError,
    StepBatches,
    StepReport,
    TrainingPlan,
    TrainingState,
    loader,
    make_fabric,
    train,
)

PLAN = TrainingPlan(steps=8, batch_size=6, learning_rate=1e-2, warmup_steps=2, ema_decay=0.9)
SMALL = EncoderPlan(channels=(8, 8, 16))
SEED = 3


def pictures() -> FramesInMemory:
    """Twenty frames of 32 px; the positive ones are brighter in the middle."""
    generator = numpy_generator(1)
    frames = generator.integers(0, 40000, (20, 32, 32)).astype("uint16")
    target = (generator.random(20) > 0.5).astype("int64")
    frames[target == 1, 12:20, 12:20] += 20000
    return FramesInMemory(frames, target)


def new_state(plan: TrainingPlan = PLAN) -> TrainingState:
    with initial_weights(SEED):
        network = CovidClassifier(build_encoder(SMALL))
    return TrainingState(network, torch.optim.AdamW(network.parameters(), plan.learning_rate))


def task() -> DiagnosisTask:
    return DiagnosisTask(AugmentRanges(), LUNG_WINDOW_HU, pictures().target, SEED)


def run(
    state: TrainingState, plan: TrainingPlan = PLAN, steps: int | None = None
) -> list[StepReport]:
    """Train on; stop after so many steps, as a kill would."""
    data = pictures()
    batches = loader(data, len(data), plan, SEED, state.step)
    reports = []
    for report in train(make_fabric("cpu", plan.precision), state, batches, task(), plan, SEED):
        reports.append(report)
        if len(reports) == steps:
            break
    return reports


def losses(reports: list[StepReport]) -> list[float]:
    return [report.loss for report in reports]


def test_the_same_seed_gives_the_same_losses_to_the_last_bit() -> None:
    assert losses(run(new_state())) == losses(run(new_state()))


def test_a_run_that_was_killed_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    whole = losses(run(new_state()))
    state = new_state()
    first = losses(run(state, steps=5))
    save_checkpoint(tmp_path, state, {"best_loss": 0.5})
    again = new_state()
    assert load_checkpoint(tmp_path, again) == {"best_loss": 0.5}
    assert first + losses(run(again)) == whole


def test_the_moving_average_survives_a_resume(tmp_path: Path) -> None:
    whole = new_state()
    run(whole)
    state = new_state()
    run(state, steps=5)
    save_checkpoint(tmp_path, state, {})
    again = new_state()
    load_checkpoint(tmp_path, again)
    run(again)
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, again.weights()[name]), name


def test_the_moving_average_is_not_the_last_weights() -> None:
    state = new_state()
    run(state)
    head = "head.weight"
    assert not torch.equal(state.weights()[head], state.network.state_dict()[head])


def test_a_run_that_died_before_its_first_checkpoint_starts_again_the_same(tmp_path: Path) -> None:
    whole = losses(run(new_state()))
    state = new_state()
    run(state, steps=2)
    again = new_state()
    assert load_checkpoint(tmp_path, again) is None
    assert losses(run(again)) == whole


def test_a_truncated_checkpoint_is_reported_and_the_one_before_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = new_state()
    run(state, steps=3)
    save_checkpoint(tmp_path, state, {})
    run(state, steps=2)
    save_checkpoint(tmp_path, state, {})
    newest = max(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:2000])
    again = new_state()
    load_checkpoint(tmp_path, again)
    assert again.step == 3
    assert "not readable" in caplog.text
    assert newest.exists()


def test_only_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    state = new_state()
    for _ in range(3):
        run(state, steps=1)
        save_checkpoint(tmp_path, state, {})
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-00000002.safetensors",
        "step-00000003.safetensors",
    ]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    state = new_state()
    save_checkpoint(tmp_path, state, {})
    with initial_weights(SEED):
        other = CovidClassifier(build_encoder(EncoderPlan(channels=(8, 16, 16))))
    other_state = TrainingState(other, torch.optim.AdamW(other.parameters()))
    with pytest.raises(TrainingError, match="another network"):
        load_checkpoint(tmp_path, other_state)


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    data = pictures()
    found = [
        [
            batch.target.tolist()
            for batch in loader(data, 20, PLAN.model_copy(update={"workers": w}), SEED, 0)
        ]
        for w in (0, 2)
    ]
    assert found[0] == found[1]


def test_a_batch_depends_on_its_step_alone() -> None:
    whole = list(StepBatches(20, PLAN, SEED, 0))
    assert list(StepBatches(20, PLAN, SEED, 5)) == whole[5:]


def test_every_picture_comes_once_an_epoch() -> None:
    plan = TrainingPlan(steps=10, batch_size=4)
    places = [place for batch in StepBatches(20, plan, SEED, 0) for place in batch]
    assert sorted(places[:20]) == list(range(20))
    assert sorted(places[20:]) == list(range(20))
    assert places[:20] != places[20:]


def test_a_batch_larger_than_the_set_goes_into_the_next_epoch() -> None:
    plan = TrainingPlan(steps=1, batch_size=5)
    (batch,) = StepBatches(2, plan, SEED, 0)
    assert len(batch) == 5
    assert set(batch) == {0, 1}


def test_accumulation_changes_memory_and_not_the_result() -> None:
    plan = PLAN.model_copy(update={"accumulate": 3})
    assert losses(run(new_state(plan), plan)) == pytest.approx(losses(run(new_state())), rel=1e-4)


def test_brain_float_gives_nearly_the_same_losses() -> None:
    plan = PLAN.model_copy(update={"precision": "bf16-mixed"})
    assert losses(run(new_state(plan), plan)) == pytest.approx(losses(run(new_state())), abs=0.05)


def test_a_loss_that_is_not_finite_stops_with_its_seed_and_step() -> None:
    state = new_state()
    run(state, steps=2)
    with torch.no_grad():
        state.network.head.weight.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(NonFiniteLossError, match=f"step 2 is not finite.*seed {SEED}") as refused:
        run(state)
    assert (refused.value.step, refused.value.seed) == (2, SEED)


def test_training_lowers_the_loss() -> None:
    plan = TrainingPlan(steps=40, batch_size=10, learning_rate=1e-2, warmup_steps=2)
    found = losses(run(new_state(plan), plan))
    assert sum(found[-5:]) < 0.7 * sum(found[:5])


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [PLAN.rate_at(step) for step in range(PLAN.steps)]
    assert rates[0] == pytest.approx(PLAN.learning_rate / 2)
    assert max(rates) == pytest.approx(PLAN.learning_rate)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert PLAN.rate_at(PLAN.steps) == pytest.approx(0, abs=1e-12)


def test_no_picture_is_refused() -> None:
    with pytest.raises(TrainingError, match="no picture"):
        StepBatches(0, PLAN, SEED, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        make_fabric("cuda", "32-true")


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    run(new_state(), steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_have_no_layer_that_draws() -> None:
    """Dropout would draw from the global generator, and a resumed run would differ."""
    network = CovidClassifier(build_encoder(EncoderPlan()))
    assert not [m for m in network.modules() if isinstance(m, nn.Dropout)]
