"""The throughput benchmark: its parts are the real loop's, and the script does the same job."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.monai_script import items_of, transforms
from benchmarks.overhead import clean_slices
from benchmarks.throughput import Case, Training

TINY = Case("unet", 32, 4)


def test_what_the_script_makes_is_a_lesion_inside_the_lungs() -> None:
    made = transforms().set_random_state(3)
    examples = [made(item) for item in items_of(clean_slices(4, 48))]
    with_lesion = 0
    for one in examples:
        lungs, lesion = torch.as_tensor(one["lungs"]) > 0.5, one["lesion"]
        assert one["corrupted"].shape == one["clean"].shape == lesion.shape == (1, 48, 48)
        assert not lesion[~lungs].any()
        assert torch.equal(one["corrupted"][lesion == 0], one["clean"][lesion == 0])
        with_lesion += bool(lesion.any())
    assert with_lesion


def test_the_network_alone_learns_from_one_batch_and_the_data_path_makes_new_ones() -> None:
    training = Training(TINY, "cpu")
    alone = training.network_alone()
    # At a rising rate, and always on the same batch: the loss falls.
    losses = [next(alone).loss for _ in range(12)]
    assert losses[-1] < losses[0]
    data = training.data_alone()
    first, second = next(data), next(data)
    assert not torch.equal(first.corrupted, second.corrupted)


def test_the_whole_takes_the_steps_of_a_run() -> None:
    whole = Training(TINY, "cpu").whole()
    assert [next(whole).step for _ in range(3)] == [1, 2, 3]


def test_operations_are_counted_forwards_and_backwards() -> None:
    training = Training(TINY, "cpu")
    with torch.no_grad():
        counter = FlopCounterMode(display=False)
        network = training.network()
        with counter:
            network(torch.rand(4, 1, 32, 32))
    # The gradient of a convolution costs two more, but that of the pictures is not needed.
    assert 2.5 < training.flop() / counter.get_total_flops() <= 3
