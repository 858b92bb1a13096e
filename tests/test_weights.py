"""Weights are what their card says, or they are refused; nothing that can run is ever loaded."""

from __future__ import annotations

import json
import logging
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from covidssl.calibration import Calibration
from covidssl.config import dump_config, load_config
from covidssl.errors import UsageError, WeightsError
from covidssl.experiments import FinetuneConfig
from covidssl.files import sha256_of
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import INTENDED_USE, Aggregation, Model, ModelCard, load_model, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import initial_weights, torch_generator
from covidssl.starting import FROM_SCRATCH, start_from, start_pretraining
from covidssl.version import __version__
from covidssl.weights import (
    EncoderCard,
    Origin,
    load_encoder,
    load_restoration,
    load_strictly,
    read_weights,
    save_encoder_file,
    save_weights,
)

PLAN = EncoderPlan(channels=(8, 16), groups=4)
FRAME = Frame(size=32, pixels=Pixels.HU, window_hu=(-1200.0, 300.0))
ORIGIN = Origin(data_fingerprint="ab12", pictures=9, steps=5, seed=3)


def encoder(seed: int = 1, plan: EncoderPlan = PLAN) -> Encoder:
    with initial_weights(seed):
        return build_encoder(plan)


def pictures() -> torch.Tensor:
    return torch.rand((2, 1, 32, 32), generator=torch_generator(5))


def encoder_card(**changes: Any) -> EncoderCard:
    values = {
        "holds": "encoder", "encoder": PLAN, "frame": FRAME, "trained_on": ORIGIN,
        "metrics": {"loss": 0.5}, "sha256": "",
    }  # fmt: skip
    return EncoderCard.model_validate(values | changes)


def write_encoder(folder: Path, seed: int = 1) -> Path:
    """A pretraining run with an encoder and its restoration network."""
    network = RestorationUNet(encoder(seed))
    card = encoder_card(holds="restoration")
    save_encoder_file(folder / "restoration.safetensors", network, network.state_dict(), card)
    part = network.encoder
    save_encoder_file(folder / "encoder.safetensors", part, part.state_dict(), encoder_card())
    return folder / "encoder.safetensors"


def change_card(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def tamper(path: Path) -> None:
    """Change one number, and keep everything else."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def model_card(classes: tuple[str, str] = ("normal", "COVID")) -> ModelCard:
    return ModelCard(
        classes=classes,
        encoder=PLAN,
        frame=FRAME,
        operating_point=0.4,
        operating_point_rule="Youden",
        calibration=Calibration(1.5, -0.25),
        aggregation=Aggregation(rule="top_third", most_slices=7),
        burden_threshold=0.07,
        pretrained_from="none",
        trained_on=ORIGIN,
        metrics={"validation_auroc": 0.75},
        files={},
    )


def classifier() -> CovidClassifier:
    """One whose head says something."""
    network = CovidClassifier(encoder())
    generator = torch_generator(8)
    features = network.head.in_features
    network.set_feature_scale(torch.rand(features, generator=generator), torch.ones(features) / 3)
    network.set_head(torch.randn(features, generator=generator), torch.tensor(0.5))
    return network.eval()


def write_model(folder: Path, restoration: bool = True) -> Path:
    other = RestorationUNet(encoder(2)).state_dict() if restoration else None
    save_model(folder, model_card(), classifier().state_dict(), other)
    return folder


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    mine, others = first.state_dict(), second.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[n], others[n]) for n in mine)


# Encoder files


def test_encoder_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    loaded, card = load_encoder(write_encoder(tmp_path))
    assert same_weights(loaded, encoder())
    for level, expected in zip(loaded(pictures()), encoder()(pictures()), strict=True):
        assert torch.equal(level, expected)
    assert not loaded.training
    assert (card.encoder, card.frame, card.trained_on) == (PLAN, FRAME, ORIGIN)
    assert card.trained_on.covidssl == __version__


def test_encoder_is_found_in_the_folder_of_its_run(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    assert same_weights(load_encoder(tmp_path)[0], encoder())


def test_card_holds_the_sha256_of_its_weights(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    assert json.loads((tmp_path / "encoder.json").read_text())["sha256"] == sha256_of(path)


def test_restoration_network_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    network, card = load_restoration(tmp_path / "restoration.safetensors")
    assert card.holds == "restoration"
    assert same_weights(network.encoder, encoder())


def test_loading_says_how_many_tensors_matched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_encoder(tmp_path)
    count = len(encoder().state_dict())
    with caplog.at_level(logging.DEBUG, "covidssl"):
        load_encoder(path)
    assert f"encoder.safetensors: {count} of {count} tensors matched" in caplog.text
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


def test_strict_error_says_what_is_missing_what_is_too_much_and_which_shapes_differ() -> None:
    tensors = dict(encoder().state_dict())
    names = sorted(tensors)
    del tensors[names[0]]
    tensors["head.weight"] = torch.zeros(3)
    tensors[names[1]] = torch.zeros(5, 7)
    before = encoder(seed=9)
    with pytest.raises(WeightsError, match=r"here: the weights do not fit .* Nothing was") as error:
        load_strictly(before, tensors, "here")
    said = str(error.value)
    assert f"1 missing (first: {names[0]})" in said
    assert "1 not expected (first: head.weight)" in said
    assert f"1 of another shape (first: {names[1]} is (5, 7), expected " in said
    assert same_weights(before, encoder(seed=9))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": (8, 32), "groups": 4}, "of another shape"),
        ({"channels": (8, 16, 16), "groups": 4}, "missing"),
        ({"channels": (8, 12), "groups": 8}, "encoder: .*12 channels cannot be cut into 8 groups"),
    ],
)
def test_card_that_does_not_fit_its_weights_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = write_encoder(tmp_path)
    change_card(tmp_path / "encoder.json", lambda card: card["encoder"].update(change))
    with pytest.raises(WeightsError, match=said):
        load_encoder(path)


def test_card_of_other_weights_of_the_same_shape_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "first", seed=1)
    write_encoder(tmp_path / "second", seed=2)
    (tmp_path / "second" / "encoder.json").replace(tmp_path / "first" / "encoder.json")
    with pytest.raises(WeightsError, match=r"encoder\.safetensors: .*SHA-256 differs.*copy both"):
        load_encoder(path)


@pytest.mark.parametrize("name", ["encoder", "restoration"])
def test_weights_that_were_tampered_with_are_refused(name: str, tmp_path: Path) -> None:
    write_encoder(tmp_path)
    path = tmp_path / f"{name}.safetensors"
    tamper(path)
    load: Callable[[Path], object] = load_encoder if name == "encoder" else load_restoration
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        load(path)


@pytest.mark.parametrize("left", [0, 7, 100, 0.5, -1])
def test_truncated_weights_are_refused(left: float, tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left == 0.5 else int(left)])
    with pytest.raises(WeightsError, match=r"no readable safetensors file, perhaps cut short"):
        load_encoder(path)


class Runs:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_pickle_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    path, trap = write_encoder(tmp_path), tmp_path / "it ran"
    if kind == "plain":
        path.write_bytes(pickle.dumps(Runs(trap)))
    else:
        torch.save(Runs(trap), path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=r"this is a pickle .* can run any program .* refused"):
        load_encoder(path)
    assert not trap.exists()


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"encoder\.safetensors: there is no such weights file"):
        load_encoder(tmp_path)


def test_missing_card_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    (tmp_path / "encoder.json").unlink()
    with pytest.raises(WeightsError, match=r"encoder\.json: the card .* is missing; copy it too"):
        load_encoder(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "no card of this version of covidssl: .*JSON"),
        (b"\xff\xfe", "no card of this version of covidssl: it is no text"),
        (b"{}", "no card of this version of covidssl: holds: Field required"),
    ],
)
def test_what_is_no_card_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    (tmp_path / "encoder.json").write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        load_encoder(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "covidssl-encoder-9"}, "format: .*covidssl-encoder-1"),
        ({"surprise": 1}, "surprise: Extra inputs"),
    ],
)
def test_card_of_another_format_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = write_encoder(tmp_path)
    change_card(tmp_path / "encoder.json", lambda card: card.update(change))
    with pytest.raises(WeightsError, match=said):
        load_encoder(path)


def test_restoration_network_is_no_encoder_and_the_other_way_round(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    with pytest.raises(WeightsError, match="holds a restoration network; expected an encoder"):
        load_encoder(tmp_path / "restoration.safetensors")
    with pytest.raises(WeightsError, match="holds an encoder; expected a restoration network"):
        load_restoration(tmp_path / "encoder.safetensors")


def test_weights_of_another_network_are_not_written(tmp_path: Path) -> None:
    tensors = dict(encoder().state_dict()) | {"head.weight": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"not the weights of this network: \['head\.weight'\]"):
        save_encoder_file(tmp_path / "encoder.safetensors", encoder(), tensors, encoder_card())
    assert list(tmp_path.iterdir()) == []


def test_weights_whose_length_begins_like_a_pickle_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    starts = set()
    for length in range(1, 140):
        save_weights(path, {"n" * length: torch.arange(3.0)})
        starts.add(path.read_bytes()[:1])
        assert read_weights(path)["n" * length].tolist() == [0.0, 1.0, 2.0]
    assert b"\x80" in starts


def test_weights_in_another_memory_order_are_written_as_the_same_numbers(tmp_path: Path) -> None:
    turned = torch.rand((4, 3, 2, 2)).to(memory_format=torch.channels_last)
    sha256 = save_weights(tmp_path / "w.safetensors", {"a": turned, "b": turned.mT})
    read = read_weights(tmp_path / "w.safetensors", sha256)
    assert torch.equal(read["a"], turned)
    assert torch.equal(read["b"], turned.mT)


# Where fine-tuning starts


def test_encoder_reaches_the_classifier_unchanged(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    start = start_from(tmp_path, None, None, seed=77)
    assert same_weights(CovidClassifier(start.encoder).encoder, encoder())
    assert start.frame == FRAME
    assert start.sha256 == sha256_of(tmp_path / "encoder.safetensors")


def test_restoration_network_beside_the_encoder_comes_along(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    for given in (tmp_path, path):
        restoration = start_from(given, FRAME, PLAN, seed=0).restoration
        assert restoration is not None
        assert len(restoration) > len(encoder().state_dict())
    (tmp_path / "restoration.safetensors").unlink()
    assert start_from(path, None, None, seed=0).restoration is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frame": Frame(size=64, pixels=Pixels.HU)}, "other frame"),
        ({"trained_on": ORIGIN.model_copy(update={"data_fingerprint": "cd"})}, "other trained_on"),
        ({"encoder": EncoderPlan(channels=(8, 8), groups=4)}, "other encoder"),
    ],
    ids=["frame", "data", "plan"],
)
def test_restoration_network_of_another_encoder_is_left_out(
    changes: dict[str, Any], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_encoder(tmp_path)
    card = encoder_card(holds="restoration", **changes)
    network = RestorationUNet(build_encoder(card.encoder))
    path = tmp_path / "restoration.safetensors"
    save_encoder_file(path, network, network.state_dict(), card)
    assert start_from(tmp_path, None, None, seed=0).restoration is None
    assert f"not taught with the encoder beside it ({said})" in caplog.text


def test_start_from_scratch_is_drawn_by_the_seed() -> None:
    first, again, other = (start_from(None, FRAME, PLAN, seed) for seed in (1, 1, 2))
    assert same_weights(first.encoder, again.encoder)
    assert not same_weights(first.encoder, other.encoder)
    assert (first.frame, first.sha256, first.restoration) == (FRAME, FROM_SCRATCH, None)


def test_configuration_that_disagrees_with_the_encoder_lists_the_differences(
    tmp_path: Path,
) -> None:
    write_encoder(tmp_path)
    other = Frame(size=64, pixels=Pixels.WINDOWED, window_hu=FRAME.window_hu)
    with pytest.raises(UsageError, match=r"\(configuration -> weights\): frame\.pixels") as error:
        start_from(tmp_path, other, None, seed=0)
    said = str(error.value)
    assert "frame.pixels: windowed -> hu; frame.size: 64 -> 32." in said
    assert "window_hu" not in said
    assert "Leave 'frame' out of it" in said
    assert said.endswith("add to the command: --set frame.pixels=hu --set frame.size=32")


def test_architecture_that_disagrees_with_the_encoder_lists_the_differences(
    tmp_path: Path,
) -> None:
    write_encoder(tmp_path)
    with pytest.raises(
        UsageError, match=r"encoder\.channels: \[8, 32\] -> \[8, 16\]\. .*'encoder'"
    ):
        start_from(tmp_path, None, EncoderPlan(channels=(8, 32), groups=4), seed=0)


def test_all_that_disagrees_with_the_encoder_is_mended_at_once(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    frame = FRAME.model_copy(update={"window_hu": (-900.0, 100.0), "margin": 0.3})
    plan = EncoderPlan(channels=(8, 32), groups=2)
    given = FinetuneConfig(frame=frame, encoder=plan)
    with pytest.raises(UsageError, match="Leave 'frame' and 'encoder' out of it") as error:
        start_from(tmp_path, given.frame, given.encoder, seed=0)
    (tmp_path / "given.yaml").write_text(dump_config(given))
    options = shlex.split(str(error.value).partition("add to the command: ")[2])[1::2]
    mended = load_config(FinetuneConfig, tmp_path / "given.yaml", options)
    assert start_from(tmp_path, mended.frame, mended.encoder, seed=0).frame == FRAME


def test_pretraining_is_not_told_to_leave_out_what_has_a_default(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    with initial_weights(0):
        drawn = RestorationUNet(build_encoder(PLAN))
    with pytest.raises(UsageError, match="Add to the command: --set frame.size=32$") as error:
        start_pretraining(drawn, path, FRAME.model_copy(update={"size": 64}), PLAN)
    assert "Leave" not in str(error.value)


def test_start_from_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such weights file"):
        start_from(tmp_path / "nowhere", None, None, seed=0)


# Model folders


def test_model_folder_gives_the_same_logits(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))
    with torch.no_grad():
        expected = classifier()(pictures())
        assert torch.equal(model.classifier(pictures()), expected)
    assert expected.abs().min() > 0.01
    assert not model.classifier.training


def test_model_folder_gives_the_same_card(tmp_path: Path) -> None:
    card = load_model(write_model(tmp_path)).card
    expected = model_card().model_dump() | {"files": card.files}
    assert card.model_dump() == expected
    assert card.intended_use == INTENDED_USE
    assert set(card.files) == {"classifier.safetensors", "restoration.safetensors"}


def test_model_folder_gives_the_same_restoration(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))
    assert model.restoration is not None
    assert same_weights(model.restoration.encoder, encoder(2))
    assert not model.restoration.training


def test_model_from_scratch_has_no_restoration(tmp_path: Path) -> None:
    assert load_model(write_model(tmp_path, restoration=False)).restoration is None


def test_model_is_found_in_the_run_that_holds_it(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    assert isinstance(load_model(tmp_path), Model)


def test_model_folder_holds_nothing_that_can_run(tmp_path: Path) -> None:
    names = sorted(path.name for path in write_model(tmp_path).iterdir())
    assert names == [
        "MODEL.md", "card.json", "classifier.safetensors", "restoration.safetensors"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["classifier.safetensors", "restoration.safetensors"])
def test_model_that_was_tampered_with_is_refused(name: str, tmp_path: Path) -> None:
    tamper(write_model(tmp_path) / name)
    with pytest.raises(WeightsError, match=f"{name}: .*SHA-256 differs"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["classifier.safetensors", "restoration.safetensors"])
def test_model_without_its_weights_is_refused(name: str, tmp_path: Path) -> None:
    (write_model(tmp_path) / name).unlink()
    with pytest.raises(WeightsError, match=f"{name}: there is no such weights file"):
        load_model(tmp_path)


def test_model_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(classifier().state_dict(), write_model(tmp_path) / "classifier.safetensors")
    with pytest.raises(WeightsError, match="this is a pickle"):
        load_model(tmp_path)


def test_model_without_a_card_is_refused(tmp_path: Path) -> None:
    (write_model(tmp_path) / "card.json").unlink()
    with pytest.raises(WeightsError, match=r"card\.json: the card .* is missing"):
        load_model(tmp_path)


def test_model_card_that_names_no_classifier_is_refused(tmp_path: Path) -> None:
    change_card(write_model(tmp_path) / "card.json", lambda card: card["files"].clear())
    with pytest.raises(WeightsError, match=r"card\.json: names no classifier\.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("encoder", {"channels": [10**6, 10**6]}, "encoder.channels.0: .*less than or equal"),
        ("encoder", {"channels": [8] * 64}, "encoder.channels: .*at most 10"),
        ("encoder", {"channels": [4096] * 10}, "missing"),  # 6 GiB, if they were built
        ("head", {"kind": "attention", "attention_features": 10**12}, "attention_features: .*less"),
        ("frame", {"depth": 16}, r"frame\.depth 16 does not go with encoder\.dimensions 2"),
        ("aggregation", {"rule": "whole_volume"}, "whole_volume does not go with frame.depth None"),
        (
            "aggregation",
            {"rule": "attention"},
            r"rule attention does not go with head",
        ),
        ("", {"operating_point": float("nan")}, "operating_point: "),
        ("", {"operating_point": 7.0}, "operating_point: .*less than or equal to 1"),
        ("", {"burden_threshold": float("inf")}, "burden_threshold: .*finite"),
        ("calibration", {"scale": float("nan")}, "calibration: .*expected finite numbers"),
        ("calibration", {"scale": -1.0}, "calibration: .*the scale above 0"),
        ("calibration", {"kind": "isotonic", "knots": [[1, 0.5], [0, 0.6]]}, "rising logits"),
        ("calibration", {"kind": "isotonic", "knots": [[0, 0.5], [1, 0.4]]}, "rising logits"),
        ("calibration", {"kind": "isotonic", "knots": [[0, 0.5], [1, 1.4]]}, "rising logits"),
        ("calibration", {"kind": "isotonic", "knots": [[0, 0.5]]}, "two or more"),
        ("calibration", {"knots": [[0, 0.5], [1, 0.6]]}, "knots go with the kind isotonic"),
        ("calibration", {"kind": "magic"}, "calibration.kind: "),
    ],
)
def test_model_card_that_says_what_cannot_be_is_refused(
    part: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path) / "card.json"
    change_card(path, lambda card: (card[part] if part else card).update(change))
    with pytest.raises(WeightsError, match=said):
        load_model(tmp_path)


def test_model_card_from_before_there_were_kinds_of_calibration_is_read(tmp_path: Path) -> None:
    path = write_model(tmp_path) / "card.json"
    change_card(path, lambda card: [card["calibration"].pop(key) for key in ("kind", "knots")])
    assert load_model(tmp_path).card.calibration == Calibration(1.5, -0.25)


def test_knots_of_a_calibration_come_back_from_the_card(tmp_path: Path) -> None:
    path = write_model(tmp_path) / "card.json"
    knots = [[-1.25, 0.1], [0.5, 0.7]]
    change_card(path, lambda card: card["calibration"].update(kind="isotonic", knots=knots))
    found = load_model(tmp_path).card.calibration
    assert found.knots == ((-1.25, 0.1), (0.5, 0.7))
    assert found.probability(-0.375) == pytest.approx(0.4)


def test_encoder_card_of_slices_with_a_frame_of_volumes_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    change_card(tmp_path / "encoder.json", lambda card: card["frame"].update(depth=16))
    with pytest.raises(WeightsError, match=r"frame\.depth 16 does not go with enc"):
        load_encoder(path)


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
def test_file_that_is_far_too_large_is_refused_unread(name: str, tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    with (tmp_path / name).open("r+b") as file:
        file.truncate(8 * 2**30)  # a hole: it takes no room
    with pytest.raises(WeightsError, match=rf"{name}: .*(bytes are no card|GiB are no encoder)"):
        load_encoder(path)


def test_model_card_of_another_network_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path) / "card.json"
    change_card(path, lambda card: card["encoder"].update(channels=[8, 32]))
    with pytest.raises(WeightsError, match=r"classifier\.safetensors: .*of another shape"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("rule", "logit"), [("mean", 3.5), ("top_third", 5.5)], ids=["mean", "top_third"]
)
def test_slices_become_one_answer_by_the_rule_of_the_card(rule: str, logit: float) -> None:
    logits = np.array([6.0, 1.0, 5.0, 2.0, 4.0, 3.0])
    assert Aggregation.model_validate({"rule": rule}).of(logits) == logit


def test_one_slice_answers_for_itself() -> None:
    for rule in ("mean", "top_third"):
        assert Aggregation.model_validate({"rule": rule}).of(np.array([2.0])) == 2.0
