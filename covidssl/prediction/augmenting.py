"""Test-time augmentation: the same scan, put to the network a little differently.

Moves, turns and windows are smaller than those of training, and nothing is mirrored. All slices of
a scan are changed alike, as a patient would lie a little differently. What is drawn depends on the
scan's own frames, so that an answer does not depend on the order of scans (Wang et al.,
Neurocomputing 338, 2019, for what the spread of such answers tells).
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.augment import (
    AugmentParams,
    AugmentRanges,
    sample_augment,
    see_through,
    to_hu,
    warp,
)
from covidssl.frames import Frame, unit_from_frames
from covidssl.randomness import torch_generator

_STREAM = 191
_WINDOW = 0.02  # of the window's width, to either side of its ends
_AT_ONCE = 16


def augmented(
    frames: NDArray[np.uint16], frame: Frame, count: int, seed: int
) -> list[NDArray[np.uint16]]:
    """`count` variants of a scan's frames (N, [D,] H, W), each of the same shape.

    Args:
        frames: of one scan.
        frame: through whose window they were seen.
        count: how many; the first ones do not depend on it.
        seed: of the plan.
    """
    digest = np.frombuffer(hashlib.sha256(frames.tobytes()).digest(), np.uint32)
    generator = torch_generator(seed, _STREAM, *(int(word) for word in digest))
    drawn = sample_augment(_ranges(frame), generator, count)
    return [
        _varied(frames, frame, AugmentParams(*(part[k : k + 1] for part in drawn)))
        for k in range(count)
    ]


def _ranges(frame: Frame) -> AugmentRanges:
    low, high = frame.window_hu
    room = _WINDOW * (high - low)
    volume = frame.depth is not None
    return AugmentRanges(
        flip=0.0,
        rotation_degrees=4.0,
        zoom=(0.95, 1.05),
        shift=0.02,
        zoom_z=(0.95, 1.05) if volume else (1.0, 1.0),
        shift_z=0.02 if volume else 0.0,
        window_low_hu=(low - room, low + room),
        window_high_hu=(high - room, high + room),
    )


def _varied(frames: NDArray[np.uint16], frame: Frame, one: AugmentParams) -> NDArray[np.uint16]:
    varied = np.empty_like(frames)
    for first in range(0, len(frames), _AT_ONCE):
        part = torch.from_numpy(frames[first : first + _AT_ONCE])
        params = AugmentParams(*(drawn.expand(len(part), *drawn.shape[1:]) for drawn in one))
        moved = warp(unit_from_frames(part)[:, None], params)
        unit = see_through(to_hu(moved, frame.window_hu), params)[:, 0]
        varied[first : first + _AT_ONCE] = np.round(unit.numpy() * 65535.0).astype(np.uint16)
    return varied
