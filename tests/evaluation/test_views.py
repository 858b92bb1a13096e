"""Images without their shortcuts: what is taken away is away, and a model that fed on it shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.drawn_models import drawn_card
from covidssl.audit.seen import see
from covidssl.datasets import LabelledScan
from covidssl.diagnosis import ProbeData, pooled_features, start_from_probe
from covidssl.evaluation import LOOK, Held, judge
from covidssl.evaluation.beside import rows_beside, verdicts
from covidssl.evaluation.cautions import of_pixels
from covidssl.evaluation.trivial import LOOKED_AT, Scored, trivial_models
from covidssl.evaluation.views import VIEWS, logits_of_views, lungs_masked, lungs_only, ranked
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io import ScanFiles
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.metrics import evaluate
from covidssl.model import Model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.rivals import FEATURES, fit_rival
from covidssl.splits import Assigned
from tests.evaluation.made import BOOTSTRAP
from tests.evaluation.scan_sets import written_pictures

SIZE = 32
INSIDE = np.zeros((SIZE, SIZE), np.bool_)
INSIDE[8:24, 6:14] = INSIDE[8:24, 18:26] = True


def pictures(n: int, mark: str, seed: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Frames of noise; in every second one a mark inside the lungs, or outside of them."""
    generator = numpy_generator(seed, 9)
    frames = generator.uniform(0.3, 0.5, (n, SIZE, SIZE))
    target = np.arange(n) % 2
    where = (slice(12, 18), slice(8, 13)) if mark == "inside" else (slice(0, 5), slice(26, 32))
    frames[np.ix_(target == 1, range(*where[0].indices(SIZE)), range(*where[1].indices(SIZE)))] = (
        0.9
    )
    return (frames * 65535).astype(np.uint16), target


def frames_of(n: int, mark: str, without_lungs: int = 0) -> LabelledFrames:
    frames, target = pictures(n, mark)
    scans = tuple(
        LabelledScan(f"{k:02}.png", ScanFiles(f"{k:02}.png", "picture", ()), bool(positive))
        for k, positive in enumerate(target)
    )
    return LabelledFrames(
        frames=frames,
        scan_of=np.arange(n),
        scans=scans,
        thumbnails=np.zeros((n, FEATURES), np.float32),
        hashes=np.zeros((n, 32), np.uint8),
        voxels=("00" * 32,) * n,
        pixels=(Pixels.WINDOWED,) * n,
        dropped=(),
        without_lungs=tuple(scan.name for scan in scans[:without_lungs]),
        warned=(),
        masks=np.packbits(np.broadcast_to(INSIDE, frames.shape), axis=-1),
    )


def model_that_learnt(frames: LabelledFrames) -> Model:
    """A random encoder with a linear probe that tells the marks.

    It has seen altered images too: to other models they are foreign, and all scores fall.
    """
    plan = EncoderPlan(channels=(8, 8), groups=4)
    with initial_weights(0):
        network = CovidClassifier(build_encoder(plan))
    card = drawn_card(plan, Frame(size=SIZE))
    model = Model(card, network, None)
    masks = frames.lungs(np.arange(len(frames.frames)))
    shown = [frames.frames, *(view.of(frames.frames, masks) for view in VIEWS)]
    features = pooled_features(network, np.concatenate(shown), model.device)
    seen = ProbeData(features, np.tile(frames.target, len(shown)))
    start_from_probe(network, seen, seen)
    return model


def area_of(logit: NDArray[np.float64], target: NDArray[np.int64]) -> float:
    chance = 1 / (1 + np.exp(-logit))
    return evaluate(target, chance, 0.5, None, numpy_generator(0), 10).auroc.value


def test_of_lungs_only_nothing_is_left_outside_and_all_inside() -> None:
    frames, _ = pictures(2, "outside")
    masks = np.broadcast_to(INSIDE, frames.shape)
    seen = lungs_only(frames, masks)
    assert not seen[~masks].any()
    assert (seen[masks] == frames[masks]).all()


def test_with_the_lungs_masked_out_their_rim_is_black_too_and_the_body_stays() -> None:
    frames, _ = pictures(2, "outside")
    masks = np.broadcast_to(INSIDE, frames.shape)
    seen = lungs_masked(frames, masks)
    assert not seen[masks].any()
    assert not seen[:, 7, 6:14].any()  # the row above the lungs
    assert (seen[:, :5] == frames[:, :5]).all()


def test_of_ranks_no_window_is_left() -> None:
    frames, _ = pictures(3, "inside")
    steeper = (frames // 4 * 2 + 9000).astype(np.uint16)
    whole = np.abs(ranked(frames, frames > 0).astype(int) - ranked(steeper, frames > 0)).mean()
    assert whole < 0.002 * 65535
    assert abs(float(ranked(frames, frames > 0).mean()) / 65535 - 0.5) < 0.01


def test_volumes_are_altered_plane_by_plane() -> None:
    frames, _ = pictures(4, "inside")
    masks = np.broadcast_to(INSIDE, frames.shape)
    for view in VIEWS:
        flat = view.of(frames, masks)
        assert (view.of(frames[None], masks[None])[0] == flat).all(), view.key


@pytest.mark.parametrize("mark", ["inside", "outside"])
def test_where_a_model_looks_is_seen_from_what_it_keeps(mark: str) -> None:
    frames = frames_of(80, mark)
    model = model_that_learnt(frames)
    found = logits_of_views(model, frames, np.arange(80))
    area = {key: area_of(logit, frames.target) for key, logit in found.items()}
    if mark == "inside":
        assert area["lungs_only"] > 0.95
        assert area["lungs_only_ranked"] > 0.75
        assert 0.3 < area["lungs_masked"] < 0.7
    else:
        assert 0.3 < area["lungs_only"] < 0.7
        assert area["lungs_masked"] > 0.85


@pytest.mark.parametrize(
    ("mark", "kept", "shortcut"), [("inside", True, False), ("outside", False, True)]
)
def test_verdict_says_where_the_model_looks(mark: str, kept: bool, shortcut: bool) -> None:
    frames = frames_of(80, mark)
    assigned = [Assigned(scan, scan.name, "all") for scan in frames.scans]
    (judged,) = judge(model_that_learnt(frames), [Held("", frames, assigned, "all")], None, True)
    said = verdicts(rows_beside(judged, BOOTSTRAP))
    (lungs,) = (one for one in said if one.text.startswith("Without anything outside the lungs"))
    assert lungs.warning is not kept
    assert "the model keeps" in lungs.text
    (masked,) = (one for one in said if one.text.startswith("With the lungs masked out"))
    assert masked.warning is shortcut
    assert ("a shortcut" if shortcut else "not told from chance") in masked.text


def test_the_rival_learns_from_the_training_scans_and_from_no_others() -> None:
    """Features are noise, so that trees know only the labels of the very scans they learnt from."""
    frames = replace(
        frames_of(120, "inside"),
        thumbnails=numpy_generator(0, 13).random((120, FEATURES)).astype(np.float32),
    )
    places = ["train", "validation", "test"]
    assigned = [
        Assigned(scan, scan.name, places[k // 2 % 3]) for k, scan in enumerate(frames.scans)
    ]
    (judged,) = judge(model_that_learnt(frames), [Held("", frames, assigned, "test")], 0)
    of = {
        split: np.array([k for k, one in enumerate(assigned) if one.split == split])
        for split in places
    }
    train = of["train"]
    alone = fit_rival(frames.thumbnails[train], frames.target[train], 0)
    expected = alone.probability(frames.thumbnails[of["test"]])
    assert judged.rival is not None
    assert (judged.rival == expected).all()
    assert 0.2 < evaluate(judged.target, judged.rival, 0.5, None,
                          numpy_generator(0), 10).auroc.value < 0.8  # fmt: skip


def test_scans_of_pixels_that_the_internal_set_has_not_are_told() -> None:
    frames = frames_of(20, "inside")
    assigned = [Assigned(scan, scan.name, "all") for scan in frames.scans]
    own = Held("", frames, assigned, "all")
    of_hu = replace(frames, pixels=(Pixels.HU,) * 5 + (Pixels.WINDOWED,) * 15)
    (said,) = of_pixels(Held("clinic", of_hu, assigned, "all"), own)
    assert said.startswith("5 of 20 scans are hu, and the internal set is windowed")
    assert list(of_pixels(own, own)) == []


def test_scans_without_usable_lungs_are_left_out_where_lungs_are_needed() -> None:
    frames = frames_of(20, "inside", without_lungs=4)
    found = logits_of_views(model_that_learnt(frames), frames, np.arange(20))
    assert np.isfinite(found["ranked"]).all()
    for key in ("lungs_only", "lungs_only_ranked", "lungs_masked"):
        assert np.flatnonzero(np.isnan(found[key])).tolist() == [0, 1, 2, 3]
    assigned = [Assigned(scan, scan.name, "all") for scan in frames.scans]
    (judged,) = judge(model_that_learnt(frames), [Held("", frames, assigned, "all")], None, True)
    rows = {row.key: row for row in rows_beside(judged, BOOTSTRAP)}
    assert (rows["ranked"].n, rows["ranked"].note) == (20, "")
    assert rows["lungs_only"].n == 16
    assert rows["lungs_only"].note == "4 scans without usable lungs are left out"


def test_where_hardly_a_scan_has_lungs_the_row_says_so_and_the_rest_stands() -> None:
    frames = frames_of(20, "inside", without_lungs=19)
    assigned = [Assigned(scan, scan.name, "all") for scan in frames.scans]
    (judged,) = judge(model_that_learnt(frames), [Held("", frames, assigned, "all")], None, True)
    rows = {row.key: row for row in rows_beside(judged, BOOTSTRAP)}
    assert rows["lungs_only"].auroc is None
    assert "not scored: All 1 entries carry the same label" in rows["lungs_only"].note
    assert rows["ranked"].auroc is not None


def test_where_one_patient_alone_has_lungs_the_row_says_so_and_names_nobody() -> None:
    frames = frames_of(20, "inside", without_lungs=16)
    assigned = [
        Assigned(scan, "Jane" if k > 15 else scan.name, "all")
        for k, scan in enumerate(frames.scans)
    ]
    (judged,) = judge(model_that_learnt(frames), [Held("", frames, assigned, "all")], None, True)
    rows = {row.key: row for row in rows_beside(judged, BOOTSTRAP)}
    assert rows["lungs_only"].note.endswith("not scored: all of them belong to one group")
    assert "Jane" not in str(rows)


def test_frames_without_masks_are_refused() -> None:
    frames = load_without_look()
    with pytest.raises(ValueError, match="load the frames with a look"):
        frames.lungs(np.arange(2))


def load_without_look() -> LabelledFrames:
    return LabelledFrames(
        np.zeros((2, SIZE, SIZE), np.uint16), np.arange(2), (), np.zeros((0, FEATURES), np.float32),
        np.zeros((0, 32), np.uint8), (), (), (), (), (),
    )  # fmt: skip


def test_trivial_models_see_what_an_audit_sees(tmp_path: Path) -> None:
    dataset = written_pictures(tmp_path, 6)
    frames = load_labelled_frames(dataset.scans, Frame(size=SIZE), 3, look=LOOK)
    seen = see(dataset, LOOKED_AT)
    for name, numbers in seen.views.items():
        assert np.array_equal(frames.looked_at[name], numbers, equal_nan=True), name


def test_a_mark_on_the_border_is_found_by_the_trivial_model_of_borders(tmp_path: Path) -> None:
    dataset = written_pictures(tmp_path, 24, framed=True)
    frames = load_labelled_frames(dataset.scans, Frame(size=SIZE), 3, look=LOOK)
    even = np.arange(0, 24, 2)
    learnt, scored = Scored(frames, even), Scored(frames, even + 1)
    said = {one.model.key: one.probability for one in trivial_models(learnt, [scored], 0)}
    target = np.array([int(frames.scans[k].positive) for k in even + 1])
    (border,) = said["border"]
    assert evaluate(target, border, 0.5, None, numpy_generator(0), 10).auroc.value == 1.0
    assert "rival" not in said  # scored beside every model already
    assert "mode" not in said  # alike in all of these scans


def test_what_is_seen_of_one_set_does_not_change_with_another_beside_it(tmp_path: Path) -> None:
    dataset = written_pictures(tmp_path, 24, framed=True)
    frames = load_labelled_frames(dataset.scans, Frame(size=SIZE), 3, look=LOOK)
    even = np.arange(0, 24, 2)
    learnt, scored = Scored(frames, even), Scored(frames, even + 1)
    alone = {one.model.key: one.probability[0] for one in trivial_models(learnt, [scored], 0)}
    both = trivial_models(learnt, [scored, Scored(frames, even)], 0)
    assert {one.model.key for one in both} == alone.keys()
    for one in both:
        assert (one.probability[0] == alone[one.model.key]).all()
        assert len(one.probability[1]) == 12
