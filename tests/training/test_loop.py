"""The loop: what it learns from depends on (seed, step) alone, and a killed run goes on exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from covidssl.errors import TrainingError, UsageError
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.training import NonFiniteLossError, StepBatches, TrainingPlan, loader, make_fabric
from tests.training.small import PLAN, SEED, losses, new_state, pictures, run


def test_the_same_seed_gives_the_same_losses_to_the_last_bit() -> None:
    assert losses(run(new_state())) == losses(run(new_state()))


def test_the_moving_average_is_not_the_last_weights() -> None:
    state = new_state()
    run(state)
    head = "head.weight"
    assert not torch.equal(state.weights()[head], state.network.state_dict()[head])


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
