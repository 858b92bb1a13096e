"""Heads over a scan's slices, and encoders of which not all learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from covidssl.augment import AugmentRanges
from covidssl.checkpoint import load_checkpoint, save_checkpoint
from covidssl.datasets import LabelledScan
from covidssl.diagnosis import parameter_groups, scores_of
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels
from covidssl.io import ScanFiles
from covidssl.labelled_frames import LabelledFrames
from covidssl.lessons import lessons
from covidssl.model import Aggregation
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.heads import HeadPlan, weights_in_scans
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, numpy_generator, torch_generator
from covidssl.scan_bags import BagBatch, BagTask
from covidssl.training import Share, TrainingPlan, TrainingState, loader, make_fabric, train

CPU = torch.device("cpu")
ATTENTION = HeadPlan(kind="attention", attention_features=16)
STILL = AugmentRanges(
    flip=0, rotation_degrees=0, zoom=(1, 1), shift=0,
    window_low_hu=(-1000, -1000), window_high_hu=(400, 400),
)  # fmt: skip
SLICES = 24


def classifier(norm: str = "group", head: HeadPlan = ATTENTION) -> CovidClassifier:
    plan = EncoderPlan.model_validate({"channels": (8, 8, 16), "groups": 4, "norm": norm})
    with initial_weights(1):
        return CovidClassifier(build_encoder(plan), head)


def trained_looking(norm: str = "group") -> CovidClassifier:
    """A network whose head and attention are no longer at their start."""
    network, draw = classifier(norm), torch_generator(2)
    with torch.no_grad():
        for parameter in (network.head.weight, network.head.bias, network.attention.score.weight):
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return network.eval().requires_grad_(False)


def scans(*slices: int, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of scans of so many slices (B, K, 1, 32, 32), with their mask."""
    mask = torch.arange(max(slices)) < torch.tensor(slices)[:, None]
    return torch.rand((*mask.shape, 1, 32, 32), generator=torch_generator(seed)), mask


def bags(count: int, seed: int) -> LabelledFrames:
    """Scans of a patch of chance brightness a slice; in one slice of an ill one it is too bright.

    The mean brightness of both classes is about the same.
    """
    draw = numpy_generator(seed)
    positive = np.arange(count) % 2
    frames = draw.integers(0, 6000, (count, SLICES, 32, 32)).astype(np.float64)
    bright = draw.uniform(0, 0.6, (count, SLICES))
    for scan in np.flatnonzero(positive):
        bright[scan] *= 0.95
        bright[scan, draw.integers(SLICES)] = draw.uniform(0.72, 0.8)
    for scan, k in np.ndindex(count, SLICES):
        y, x = draw.integers(4, 20, 2)
        frames[scan, k, y : y + 8, x : x + 8] += bright[scan, k] * 55000
    return LabelledFrames(
        frames=frames.reshape(-1, 32, 32).astype(np.uint16),
        scan_of=np.repeat(np.arange(count), SLICES),
        scans=tuple(
            LabelledScan(str(k), ScanFiles(str(k), "picture", ()), bool(ill))
            for k, ill in enumerate(positive)
        ),
        thumbnails=np.empty((count, 0), np.float32),
        hashes=np.empty((count, 32), np.uint8),
        voxels=("",) * count,
        pixels=(Pixels.HU,) * count,
        dropped=(),
        without_lungs=(),
        warned=(),
    )


def whole(frames: LabelledFrames) -> NDArray[np.int64]:
    return np.arange(len(frames.frames))


def auroc(network: CovidClassifier, frames: LabelledFrames) -> float:
    scores, rule = scores_of(network, frames.frames, CPU), Aggregation(rule="attention")
    of_scan = [frames.scan_of == scan for scan in range(len(frames.scans))]
    logits = [rule.of(scores.logit[one], scores.attention[one]) for one in of_scan]
    return float(roc_auc_score([scan.positive for scan in frames.scans], logits))


def learn(
    state: TrainingState, frames: LabelledFrames, plan: TrainingPlan, stop: int | None = None
) -> list[float]:
    """Losses of the steps that are left, or up to step `stop`."""
    what = lessons(ATTENTION, frames, whole(frames))
    task = what.task(STILL, LUNG_WINDOW_HU, 0)
    batches = loader(what.data, len(what.target), plan, 0, state.step)
    losses = []
    for report in train(make_fabric("cpu", "32-true"), state, batches, task, plan, 0):
        losses.append(report.loss)
        if report.step == stop:
            break
    return losses


def new_state(network: CovidClassifier, plan: TrainingPlan) -> TrainingState:
    groups = parameter_groups(network, 1.0, 1.0, attention_rate=3.0)
    return TrainingState(network, torch.optim.AdamW(groups, plan.learning_rate))


def test_a_scans_weights_add_up_to_one_and_empty_places_have_none() -> None:
    mask = scans(3, 5, 1)[1]
    weights = weights_in_scans(torch.randn(9, generator=torch_generator(1)) * 30, mask)
    assert weights.sum(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert float(weights[~mask].abs().max()) == 0


def test_what_stands_in_empty_places_has_no_effect() -> None:
    network = trained_looking("batch").train()
    unit, mask = scans(3, 5)
    other = unit.clone()
    other[~mask] = float("nan")
    statistics = {n: b.clone() for n, b in network.named_buffers()}
    first = network(unit, mask)
    after = {n: b.clone() for n, b in network.named_buffers()}
    for name, buffer in network.named_buffers():
        buffer.copy_(statistics[name])
    assert torch.equal(network(other, mask), first)
    assert all(torch.equal(b, after[n]) for n, b in network.named_buffers())


def test_the_order_of_slices_has_no_effect() -> None:
    network = trained_looking()
    unit, mask = scans(6)
    turned = unit[:, torch.randperm(6, generator=torch_generator(4))]
    assert float(network(turned, mask)) == pytest.approx(float(network(unit, mask)), abs=1e-5)


def test_a_scan_gets_the_same_logit_alone_and_among_others() -> None:
    network = trained_looking()
    unit, mask = scans(3, 6, 4)
    together = network(unit, mask)
    for k, slices in enumerate((3, 6, 4)):
        alone = network(unit[k : k + 1, :slices], mask[k : k + 1, :slices])
        assert float(alone) == pytest.approx(float(together[k]), abs=1e-5)


def test_what_is_learnt_from_is_what_is_scored() -> None:
    """The logit of a bag is that of `Aggregation` over the scores of its slices."""
    network = trained_looking()
    unit, mask = scans(5)
    scores = [score.detach().double().numpy() for score in network.scores(unit[0])]
    expected = Aggregation(rule="attention").of(*scores)
    assert float(network(unit, mask)) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(Aggregation(rule="attention").weights(*scores)) > 0.01


def test_attention_starts_as_the_probe_of_the_mean_of_all_slices() -> None:
    frames = bags(12, 1)
    network = classifier()
    what = lessons(ATTENTION, frames, whole(frames))
    what.start(network, what, CPU)
    scores = scores_of(network, frames.frames, CPU)
    assert not scores.attention.any()
    mean = what.averaged(what.pooled(network, CPU))
    scaled = (torch.from_numpy(mean) - network.feature_mean) / network.feature_scale
    probe = network.head(scaled)[:, 0].detach().numpy()
    logits = scores.logit.reshape(12, SLICES).mean(axis=1)
    assert logits == pytest.approx(probe, abs=1e-4)
    assert roc_auc_score(what.target, probe) > 0.9  # of the scans that it was fitted on


def test_one_bright_slice_is_found_by_attention_and_missed_by_the_mean() -> None:
    train_on, held_out = bags(48, 10), bags(48, 11)
    with initial_weights(1):
        network = CovidClassifier(build_encoder(EncoderPlan(channels=(8, 8))), ATTENTION)
    what, others = (lessons(ATTENTION, one, whole(one)) for one in (train_on, held_out))
    what.start(network, others, CPU)
    network.freeze(2)
    by_the_mean = auroc(network, held_out)
    plan = TrainingPlan(steps=60, batch_size=8, learning_rate=3e-3, warmup_steps=5)
    learn(new_state(network, plan), train_on, plan)
    assert by_the_mean < 0.85
    assert auroc(network, held_out) > 0.95


def test_a_killed_run_with_attention_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    frames = bags(6, 1)
    plan = TrainingPlan(
        steps=6, batch_size=3, learning_rate=1e-2, warmup_steps=1, accumulate=2, ema_decay=0.9
    )
    unbroken = new_state(classifier(), plan)
    losses = learn(unbroken, frames, plan)
    killed = new_state(classifier(), plan)
    first = learn(killed, frames, plan, stop=3)
    save_checkpoint(tmp_path, killed, {})
    again = new_state(classifier(), plan)
    load_checkpoint(tmp_path, again)
    assert first + learn(again, frames, plan) == losses
    for name, tensor in unbroken.weights().items():
        assert torch.equal(tensor, again.weights()[name]), name


def test_a_scan_is_moved_as_one_and_by_its_place_in_the_batch() -> None:
    """On any number of processes: the second half of a batch gets what it gets in the whole."""
    unit, mask = scans(4, 4, 4, 4)
    stored = (unit[:, :1].expand(unit.shape) * 65535).to(torch.uint16)
    batch = BagBatch(stored, mask, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    task = BagTask(AugmentRanges(), LUNG_WINDOW_HU, np.array([0, 1, 0, 1]), seed=0)
    made = task.examples(batch, Share(5, 0, 4))
    assert all(torch.equal(made.unit[:, 0], made.unit[:, k]) for k in range(4))
    assert not torch.equal(made.unit[0], made.unit[1])
    half = task.examples(BagBatch(*(part[2:] for part in batch)), Share(5, 2, 2))
    for found, expected in zip(half, made, strict=True):
        assert torch.equal(found, expected[2:])


def test_scans_of_both_classes_weigh_the_same_however_many_there_are() -> None:
    unit, mask = scans(2, 2, 2, 2)
    target = torch.tensor([1.0, 0.0, 0.0, 0.0])
    batch = BagBatch((unit * 65535).to(torch.uint16), mask, target)
    task = BagTask(STILL, LUNG_WINDOW_HU, target.long().numpy(), seed=0)
    weight = task.examples(batch, Share(0, 0, 4)).weight
    assert float(weight[0]) == pytest.approx(float(weight[1:].sum()))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_frozen_encoder_does_not_move_in_weights_statistics_or_average(norm: str) -> None:
    network = classifier(norm)
    before = {name: t.clone() for name, t in network.encoder.state_dict().items()}
    unit = torch.rand((4, 1, 32, 32), generator=torch_generator(1))
    expected = network.eval().pooled(unit)
    network.freeze(3)
    plan = TrainingPlan(steps=3, batch_size=4, learning_rate=1e-2, warmup_steps=1, ema_decay=0.5)
    state = new_state(network, plan)
    learn(state, bags(6, 1), plan)
    kept = state.weights()
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert torch.equal(kept[f"encoder.{name}"], before[name]), name
    assert torch.equal(network.train().pooled(unit), expected)


def test_the_levels_that_are_not_frozen_learn_and_so_do_their_statistics() -> None:
    network = classifier("batch")
    network.freeze(1)
    before = {name: t.clone() for name, t in network.encoder.state_dict().items()}
    plan = TrainingPlan(steps=3, batch_size=4, learning_rate=1e-2, warmup_steps=1)
    learn(new_state(network, plan), bags(6, 1), plan)
    frozen = {
        name
        for name, tensor in network.encoder.state_dict().items()
        if torch.equal(tensor, before[name])
    }
    assert frozen == {name for name in before if name.startswith("levels.0.")}


def test_more_levels_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match="has 3 levels; 4 cannot be frozen"):
        classifier().freeze(4)
