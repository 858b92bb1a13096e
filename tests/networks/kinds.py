"""Encoders of every kind, small enough for tests, and pictures for them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import Dimensions, EncoderPlan, Kind
from covidssl.randomness import initial_weights, torch_generator

KINDS: tuple[Kind, ...] = get_args(Kind)
BOTH: tuple[tuple[Kind, Dimensions], ...] = tuple(
    (kind, axes) for kind in KINDS for axes in get_args(Dimensions)
)


def encoder_of(kind: Kind, dimensions: Dimensions = 2, norm: str = "group") -> Encoder:
    """Of a kind; a plain path of three narrow levels."""
    values = {"kind": kind, "dimensions": dimensions, "norm": norm}
    narrow = {"channels": (8, 16, 24)} if kind == "unet" else {}
    with initial_weights(0):
        return build_encoder(EncoderPlan.model_validate(values | narrow))


def pictures(*edges: int, n: int = 2) -> torch.Tensor:
    """(n, 1, *edges) in [0, 1]."""
    return torch.rand((n, 1, *edges), generator=torch_generator(5))


@pytest.fixture(scope="module", params=BOTH, ids=lambda one: f"{one[0]}-{one[1]}D")
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Of every kind, in 2D and in 3D, one after the other; it is in use, and learns nothing."""
    return encoder_of(*request.param).eval()


def some_edges(encoder: Encoder) -> tuple[int, ...]:
    """Edges that no stride divides."""
    return (33, 40) if encoder.plan.dimensions == 2 else (17, 32, 33)


def far_apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference, as a share of the expected one's."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())
