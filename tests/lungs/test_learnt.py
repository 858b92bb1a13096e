"""lungmask: the code path with a network of the right shape, and its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.errors import ScanError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.lungs import learnt, segment_lungs
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    learnt._network.cache_clear()
    return tmp_path / "hub" / "checkpoints"


def ct() -> Volume:
    return Volume(chest_hu(3, 64), Pixels.HU, (5.0, 4.0, 4.0), source="c.nii.gz")


def test_weights_that_are_not_there_are_asked_for_and_never_downloaded(hub: Path) -> None:
    with pytest.raises(UsageError, match=r"unet_r231-d5d2fc3d\.pth"):
        segment_lungs(ct(), method="lungmask")
    assert not hub.exists()


def test_windowed_scans_are_refused() -> None:
    grey = Volume(chest_grey(64)[np.newaxis], Pixels.WINDOWED, source="x.png")
    with pytest.raises(ScanError, match=r"^x\.png: lungmask was trained on HU") as refusal:
        segment_lungs(grey, method="lungmask")
    assert refusal.value.code == "not_hu"


@pytest.mark.filterwarnings("ignore")
def test_the_network_in_torchs_cache_is_used(hub: Path) -> None:
    resunet = pytest.importorskip("lungmask.resunet", reason="the extra lungmask is not installed")
    # The architecture that lungmask builds for R231; random weights, whose masks nobody judges.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = resunet.UNet(
            n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
        )
    last = list(network.state_dict())[-1]
    network.state_dict()[last][:] = torch.tensor([-50.0, 0.0, 50.0])
    hub.mkdir(parents=True)
    torch.save(network.state_dict(), hub / learnt.WEIGHTS)
    lungs = segment_lungs(ct(), method="lungmask")
    assert lungs.sides is not None
    assert lungs.sides.shape == lungs.mask.array.shape == (3, 64, 64)
    # A bias that large makes every voxel of the body the left lung.
    assert set(np.unique(lungs.sides)) <= {0, 2}
    assert lungs.mask.array.mean() > 0.3
