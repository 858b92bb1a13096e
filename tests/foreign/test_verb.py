"""`covidssl import-weights`, and what the encoder that it writes is good for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from covidssl.commands import export, finetune, import_weights
from covidssl.errors import UsageError, WeightsError
from covidssl.experiments import FinetuneConfig, PretrainConfig
from covidssl.files import sha256_of
from covidssl.finetuning import Places
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import load_model
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan, Kind
from covidssl.networks.unet import RestorationUNet
from covidssl.starting import start_from, start_pretraining
from covidssl.weights import EncoderCard, Origin, load_encoder, save_encoder_file
from tests.export.taught_models import SLICES, card_of, write_taught
from tests.foreign import layout_files, torchvision_networks
from tests.scan_files import chest_grey, write_png
from tests.test_weights import write_encoder

FRAME = Frame(size=32, pixels=Pixels.WINDOWED)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 as torchvision saves it."""
    path = tmp_path_factory.mktemp("foreign") / "resnet18.pth"
    torch.save(dict(torchvision_networks.resnet18().state_dict()), path)
    return path


@pytest.fixture(scope="module")
def imported(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "imagenet"
    import_weights.main(foreign, "torchvision", out)
    return out


def test_encoder_says_where_its_weights_come_from(foreign: Path, imported: Path) -> None:
    _, card = load_encoder(imported)
    assert (card.foreign, card.frame, card.drawn) == ("torchvision resnet18", None, ())
    assert card.trained_on.data_fingerprint == sha256_of(foreign)
    assert "ImageNet" in card.licence_note
    assert card.encoder == EncoderPlan(kind="resnet18", norm="batch")
    page = (imported / "encoder.md").read_text()
    assert "torchvision resnet18, SHA-256 of the file" in page
    assert "non-commercial research" in page


def test_encoder_that_is_there_is_kept_unless_told_otherwise(foreign: Path, imported: Path) -> None:
    before = (imported / "encoder.safetensors").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        import_weights.main(foreign, "torchvision", imported)
    with pytest.raises(WeightsError, match="are not those of a 3D"):
        import_weights.main(foreign, "medicalnet", imported, overwrite=True)
    assert (imported / "encoder.safetensors").read_bytes() == before


def test_files_beside_the_encoder_are_kept_too(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(UsageError, match=r"config\.json: exists already"):
        import_weights.main(foreign, "torchvision", tmp_path / "config.safetensors")
    with pytest.raises(UsageError, match=r"config\.json is a file, no folder"):
        import_weights.main(foreign, "torchvision", tmp_path / "config.json" / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_encoder_does_not_get_the_restoration_network_of_another(
    foreign: Path, tmp_path: Path
) -> None:
    write_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").unlink()
    (tmp_path / "encoder.json").unlink()
    (tmp_path / "encoder.md").unlink()
    with pytest.raises(UsageError, match=r"holds restoration\.safetensors, of the encoder that"):
        import_weights.main(foreign, "torchvision", tmp_path)


@pytest.mark.parametrize("kind", ["resnet18", "densenet121"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@torch.no_grad()
def test_what_export_writes_for_timm_comes_back_as_it_was(
    kind: Kind, norm: str, tmp_path: Path
) -> None:
    groups = 4 if norm == "group" else 8
    model = write_taught(tmp_path / "model", card_of(SLICES, kind=kind, norm=norm, groups=groups))
    export.main(model, "timm", tmp_path / "timm")
    file = tmp_path / "timm" / "model.safetensors"
    path, done = import_weights.main(file, "timm", tmp_path / "back")
    encoder, card = load_encoder(path)
    before = load_model(model)
    assert (encoder.plan, done.drawn) == (before.card.encoder, ())
    for name, tensor in before.classifier.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name
    assert card.window_hu == SLICES.window_hu
    assert card.licence_note == before.card.licence_note


def test_models_genesis_says_its_window_and_warns_of_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(layout_files.genesis(), tmp_path / "genesis.pt")
    import_weights.main(tmp_path / "genesis.pt", "models_genesis", tmp_path / "out")
    assert load_encoder(tmp_path / "out")[1].window_hu == (-1000.0, 1000.0)
    assert "through the window -1000 to 1000" in (tmp_path / "out" / "encoder.md").read_text()
    volume = {"size": 32, "depth": 16, "pixels": "hu"}
    start_from(tmp_path / "out", Frame.model_validate(volume), None, 0)
    assert "--set 'frame.window_hu=[-1000.0, 1000.0]'" in caplog.text
    caplog.clear()
    same = Frame.model_validate(volume | {"window_hu": (-1000.0, 1000.0)})
    start_from(tmp_path / "out", same, None, 0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_any_frame_may_be_used_with_foreign_weights(imported: Path) -> None:
    assert start_from(imported, FRAME, None, 0).frame == FRAME
    assert start_from(imported, None, None, 0).frame == Frame()
    with pytest.raises(UsageError, match=r"takes slices .*Leave frame\.depth out"):
        start_from(imported, Frame(size=32, depth=16), None, 0)
    with pytest.raises(UsageError, match=r"encoder\.norm: group -> batch"):
        start_from(imported, FRAME, EncoderPlan(kind="resnet18"), 0)


def test_foreign_encoder_is_fine_tuned_with_its_batch_norms(imported: Path, tmp_path: Path) -> None:
    for index, label in enumerate(("normal", "COVID")):
        for number in range(12):
            grey = chest_grey(48, seed=number + 20 * index)
            write_png(tmp_path / "data" / label / f"{label}-{number}.png", grey)
    config = FinetuneConfig.model_validate(
        {
            "frame": FRAME.model_dump(),
            "training": {"steps": 1, "batch_size": 4, "learning_rate": 1e-5},
            "validate_every": 1,
            "split": {"kind": "random"},
            "seed": 1,
        }
    )
    run = finetune.main(
        config,
        tmp_path / "data",
        Places(tmp_path / "run", imported, device="cpu"),
        allow_leakage=True,
    )
    model = load_model(run)
    assert (model.card.encoder.kind, model.card.encoder.norm) == ("resnet18", "batch")
    assert model.card.pretrained_from == sha256_of(imported / "encoder.safetensors")
    name = "net.layer4.1.conv2.weight"
    before, after = load_encoder(imported)[0], model.classifier.encoder
    torch.testing.assert_close(
        after.state_dict()[name], before.state_dict()[name], atol=1e-3, rtol=0
    )


def test_pretraining_starts_from_an_encoder_alone(tmp_path: Path) -> None:
    plan = EncoderPlan(channels=(8, 8), groups=4)
    config = PretrainConfig(encoder=plan, frame=FRAME)
    encoder = build_encoder(plan)
    origin = Origin(data_fingerprint="none", pictures=0, steps=0, seed=0)
    card = EncoderCard(
        holds="encoder", encoder=plan, frame=None, trained_on=origin, metrics={}, sha256=""
    )
    path = tmp_path / "encoder.safetensors"
    card = save_encoder_file(path, encoder, encoder.state_dict(), card)
    for given in (path, tmp_path):
        network = RestorationUNet(build_encoder(plan))
        drawn = [t.clone() for t in network.decoder.state_dict().values()]
        assert start_pretraining(network, given, config.frame, plan) == card
        for name, tensor in encoder.state_dict().items():
            assert torch.equal(network.encoder.state_dict()[name], tensor)
        kept = network.decoder.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(drawn, kept, strict=True))
    with pytest.raises(UsageError, match=r"encoder\.channels: \[8, 16\] -> \[8, 8\]"):
        start_pretraining(network, path, FRAME, EncoderPlan(channels=(8, 16), groups=4))
