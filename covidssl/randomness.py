"""Randomness is data: every draw comes from a generator keyed by numbers, no global state.

A draw depends on its key (seed, stream, step, ...) alone, so that a run resumes exactly and does
not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def numpy_generator(*key: int) -> np.random.Generator:
    """A numpy generator for non-negative integers `key`; the same key gives the same draws."""
    return np.random.default_rng(np.random.SeedSequence(list(key)))


def torch_generator(*key: int) -> torch.Generator:
    """A CPU torch generator for the non-negative integers of `key`."""
    state = int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Networks built inside draw their first weights by `seed`, and leave the global state alone.

    PyTorch's layers can draw from its global generator only; it is put back afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
