"""A checkpoint is whole or it is not used, and a run goes on from it to the last bit."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from covidssl.checkpoint import drop_unfinished, is_whole, load_checkpoint, save_checkpoint
from covidssl.errors import NoRoomError, TrainingError
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights
from covidssl.training import TrainingState
from tests.training.small import SEED, losses, new_state, run


@pytest.fixture
def state() -> TrainingState:
    """After one step: with moments of the optimiser, and a moving average."""
    trained = new_state()
    run(trained, steps=1)
    return trained


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def saved_at(folder: Path, state: TrainingState, *steps: int) -> list[Path]:
    """Checkpoints of the same state, said to be of these steps."""
    for step in steps:
        state.step = step
        save_checkpoint(folder, state, {"step": step}, keep=len(steps))
    return sorted(folder.glob("step-*.safetensors"))


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


def test_a_run_that_died_before_its_first_checkpoint_starts_again_the_same(tmp_path: Path) -> None:
    whole = losses(run(new_state()))
    state = new_state()
    run(state, steps=2)
    again = new_state()
    assert load_checkpoint(tmp_path, again) is None
    assert losses(run(again)) == whole


@pytest.mark.parametrize("cut", [0, 5, 2000, -1])
def test_a_truncated_checkpoint_is_reported_kept_and_the_one_before_it_used(
    tmp_path: Path, state: TrainingState, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    _, newest = saved_at(tmp_path, state, 3, 5)
    torn = newest.read_bytes()[:cut]
    newest.write_bytes(torn)
    assert not is_whole(newest)
    again = new_state()
    assert load_checkpoint(tmp_path, again) == {"step": 3}
    assert again.step == 3
    assert "step-00000005.safetensors is not readable" in caplog.text
    assert (tmp_path / "step-00000005.safetensors.unreadable").read_bytes() == torn


@pytest.mark.parametrize("place", [0.001, 0.3, 0.6, 0.999])
def test_one_bit_that_was_flipped_anywhere_is_found(
    tmp_path: Path, state: TrainingState, place: float
) -> None:
    _, newest = saved_at(tmp_path, state, 3, 5)
    content = bytearray(newest.read_bytes())
    content[int(place * len(content))] ^= 1
    newest.write_bytes(content)
    assert not is_whole(newest)
    assert load_checkpoint(tmp_path, new_state()) == {"step": 3}


def test_no_bit_of_the_header_can_be_flipped_unseen(tmp_path: Path, state: TrainingState) -> None:
    (path,) = saved_at(tmp_path, state, 3)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(8, header, 97):
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        assert not is_whole(path), content[max(0, place - 20) : place + 20]


def test_where_no_checkpoint_is_whole_the_run_does_not_begin_again_by_itself(
    tmp_path: Path, state: TrainingState
) -> None:
    for path in saved_at(tmp_path, state, 3, 5):
        path.write_bytes(b"torn")
    for _ in range(2):
        with pytest.raises(TrainingError, match="none of the checkpoints is readable.*--overwrite"):
            load_checkpoint(tmp_path, new_state())
    assert len(list(tmp_path.glob("*.unreadable"))) == 2


def test_a_second_torn_file_of_the_same_name_does_not_replace_the_first(
    tmp_path: Path, state: TrainingState
) -> None:
    for content in (b"torn", b"torn again"):
        _, newest = saved_at(tmp_path, state, 3, 5)
        newest.write_bytes(content)
        load_checkpoint(tmp_path, new_state())
    aside = sorted(tmp_path.glob("*.unreadable*"))
    assert [path.read_bytes() for path in aside] == [b"torn", b"torn again"]


def test_a_checkpoint_that_cannot_be_opened_just_now_stays_where_it_is(
    tmp_path: Path, state: TrainingState
) -> None:
    (path,) = saved_at(tmp_path, state, 3)
    path.rename(tmp_path / "aside")
    path.mkdir()  # the system refuses to read it, whoever asks
    with pytest.raises(OSError, match="directory|device"):
        load_checkpoint(tmp_path, new_state())
    assert path.exists()


def test_torn_checkpoints_do_not_push_whole_ones_out(tmp_path: Path, state: TrainingState) -> None:
    _, *newer = saved_at(tmp_path, state, 3, 5, 7)
    for path in newer:
        path.write_bytes(b"torn")
    again = new_state()
    load_checkpoint(tmp_path, again)
    again.step = 4
    save_checkpoint(tmp_path, again, {}, keep=2)
    assert [path.name for path in sorted(tmp_path.glob("*.safetensors"))] == [
        "step-00000003.safetensors",
        "step-00000004.safetensors",
    ]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_last_checkpoints_are_kept(
    tmp_path: Path, state: TrainingState, keep: int
) -> None:
    for step in range(1, 5):
        state.step = step
        save_checkpoint(tmp_path, state, {}, keep)
    expected = [f"step-{step:08d}.safetensors" for step in range(5 - keep, 5)]
    assert [path.name for path in sorted(tmp_path.iterdir())] == expected


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path, state: TrainingState) -> None:
    saved_at(tmp_path, state, 3)
    (tmp_path / ".step-00000004.safetensors.77.part.safetensors").write_bytes(b"half")
    drop_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003.safetensors"]


def test_a_full_disk_is_told_with_what_is_needed_and_leaves_the_last_one_whole(
    tmp_path: Path, state: TrainingState
) -> None:
    (before,) = saved_at(tmp_path, state, 3)
    state.step = 5
    with files_of_at_most(before.stat().st_size // 2):
        said = r"step 5, which takes 0\.\d MiB. step-00000003.safetensors is whole.*--resume"
        with pytest.raises(NoRoomError, match=said):
            save_checkpoint(tmp_path, state, {}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == [before.name]
    assert is_whole(before)


def test_moments_and_averages_lie_in_memory_as_they_did(
    tmp_path: Path, state: TrainingState
) -> None:
    """A sum in another order could be rounded otherwise."""
    saved_at(tmp_path, state, 1)
    again = new_state()
    load_checkpoint(tmp_path, again)
    for mine, theirs in zip(state.network.parameters(), again.network.parameters(), strict=True):
        assert mine.stride() == theirs.stride()
        for name, kept in state.optimizer.state[mine].items():
            found = again.optimizer.state[theirs][name]
            assert torch.equal(kept, found)
            assert kept.stride() == found.stride()
    assert state.ema is not None
    assert again.ema is not None
    for name, tensor in state.ema.items():
        assert tensor.stride() == again.ema[name].stride(), name


def test_the_scale_of_the_loss_is_kept(tmp_path: Path, state: TrainingState) -> None:
    state.scaler = {"scale": 1024.0, "growth_factor": 2.0, "_growth_tracker": 7}
    saved_at(tmp_path, state, 1)
    again = new_state()
    load_checkpoint(tmp_path, again)
    assert again.scaler == state.scaler


def test_a_checkpoint_of_another_network_is_refused_with_what_differs(
    tmp_path: Path, state: TrainingState
) -> None:
    saved_at(tmp_path, state, 1)
    with initial_weights(SEED):
        other = CovidClassifier(build_encoder(EncoderPlan(channels=(8, 16, 16))))
    other_state = TrainingState(other, torch.optim.AdamW(other.parameters()))
    with pytest.raises(TrainingError, match=r"another network.*is \(.*\) in it and \(.*\) here"):
        load_checkpoint(tmp_path, other_state)
    with initial_weights(SEED):
        deeper = CovidClassifier(build_encoder(EncoderPlan(channels=(8, 8, 16, 16))))
    deeper_state = TrainingState(deeper, torch.optim.AdamW(deeper.parameters()))
    with pytest.raises(TrainingError, match=r"another network.*is missing from it"):
        load_checkpoint(tmp_path, deeper_state)
