"""BatchNorm needs more than one value of a feature to learn from; without them it says so."""

from __future__ import annotations

import pytest
import torch

from covidssl.errors import UsageError
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan, Kind


@pytest.mark.parametrize("kind", ["resnet18", "light"])
def test_one_small_frame_with_batch_norm_is_refused_with_a_remedy(kind: Kind) -> None:
    encoder = build_encoder(EncoderPlan(kind=kind, norm="batch"))
    frame = torch.rand((1, 1, 32, 32))
    with pytest.raises(UsageError, match=r"encoder\.norm batch: one frame .*training\.batch_size"):
        encoder.train()(frame)
    assert encoder(torch.rand((2, 1, 32, 32)))[-1].shape[2:] == (1, 1)
    assert encoder(torch.rand((1, 1, 33, 32)))[-1].shape[2:] == (2, 1)
    assert torch.isfinite(encoder.eval()(frame)[-1]).all()


def test_one_small_frame_is_taken_where_the_deepest_level_is_frozen_or_has_group_norms() -> None:
    frame = torch.rand((1, 1, 32, 32))
    encoder = build_encoder(EncoderPlan(kind="resnet18", norm="batch")).train()
    for module in encoder.stages()[-1]:
        module.eval()
    assert torch.isfinite(encoder(frame)[-1]).all()
    group = build_encoder(EncoderPlan(kind="resnet18")).train()
    assert torch.isfinite(group(frame)[-1]).all()
