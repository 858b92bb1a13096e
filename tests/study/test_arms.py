"""Arms: they differ in what is asked of them alone; a run of other settings is made again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from shutil import copytree

import pytest
import torch

from covidssl.commands import prepare
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PrepareConfig, PretrainConfig
from covidssl.networks.encoder import build_encoder
from covidssl.phantom.cohort import Grid, write_unlabelled
from covidssl.randomness import initial_weights
from pipelines.study.arms import ARMS, COMPARED, PRETEXTS, ArmName, in_words
from pipelines.study.pretraining import (
    encoder_of,
    is_done,
    minutes_of,
    must_be_arm,
    pretrain,
    pretrain_config,
    run_folder,
    sha256_of_encoder,
)

WITH_CONFIG = [arm for arm in ARMS if arm != "imagenet"]
SMALL = ("frame.pixels=hu", "frame.size=32", "encoder.channels=[8,8,8]", "training.batch_size=4")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("arms")
    write_unlabelled(root / "ct", 1, 5, Grid((6, 72, 72), (16.0, 4.8, 4.8)))
    prepare.main(PrepareConfig(), [root / "ct"], root / "store")
    return root / "store"


def small(arm: ArmName, *overrides: str) -> PretrainConfig:
    return pretrain_config(arm, overrides=(*SMALL, *overrides))


@pytest.mark.parametrize("arm", WITH_CONFIG)
def test_arms_differ_in_their_pretext_alone(arm: ArmName) -> None:
    own, ours = pretrain_config(arm), pretrain_config("perlin")
    assert own.model_dump(exclude={"pretext"}) == ours.model_dump(exclude={"pretext"})
    assert own.pretext.kind == ("perlin" if arm == "draem_like" else arm)


@pytest.mark.parametrize("arm", ["perlin", *PRETEXTS])
def test_every_pretext_sees_the_same_windows_ranks_and_blanks(arm: ArmName) -> None:
    own, ours = (pretrain_config(one).pretext.augment for one in (arm, "perlin"))  # type: ignore[union-attr]
    same = ("window_low_hu", "window_high_hu", "ranked", "blanked", "flip", "rotation_degrees")
    assert {key: getattr(own, key) for key in same} == {key: getattr(ours, key) for key in same}
    assert own.ranked > 0
    assert own.blanked > 0


def test_no_label_chooses_among_the_weights_of_an_arm() -> None:
    assert all(pretrain_config(arm).quality.every is None for arm in WITH_CONFIG)


def test_the_larger_scale_changes_the_network_and_the_frame() -> None:
    small_one, large = pretrain_config("perlin"), pretrain_config("perlin", scale="gpu")
    assert (small_one.encoder.kind, small_one.frame.size) == ("unet", 128)
    assert (large.encoder.kind, large.frame.size) == ("resnet50", 224)
    assert large.pretext == small_one.pretext


def test_an_arm_without_settings_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"has no keys of arm 'imagenet' \(perlin, "):
        pretrain_config("imagenet")
    with pytest.raises(UsageError, match="There is no arm 'jigsaw'; there are perlin"):
        must_be_arm("jigsaw")


def test_every_pretraining_has_a_folder_of_its_own() -> None:
    runs = Path("runs")
    asked = [
        *(run_folder(runs, arm) for arm in ARMS),
        run_folder(runs, "perlin", seed=1),
        run_folder(runs, "perlin", variant="steps-300"),
        *(run_folder(runs, "perlin", "luna16-and-targets", fold) for fold in range(5)),
    ]
    assert len(set(asked)) == len(asked)


def test_arms_have_words_and_rivals_keep_their_names() -> None:
    assert in_words("none") == "no pretraining"
    assert in_words("trees on size") == "trees on size"
    assert set(COMPARED) == set(WITH_CONFIG) - {"moco", "draem_like"}


def test_a_pretraining_is_found_again_and_its_encoder_is_the_first_weights(
    store: Path, tmp_path: Path
) -> None:
    run, config = run_folder(tmp_path, "none"), small("none")
    assert not is_done(run)
    with pytest.raises(DataError, match="there is no encoder yet"):
        encoder_of(run)
    pretrain(config, store, run)
    assert is_done(run, config, store)
    assert sha256_of_encoder(run) == encoder_of(run).sha256
    assert minutes_of(run) is not None
    written = (run / "encoder.safetensors").stat().st_mtime_ns
    pretrain(config, store, run)
    assert (run / "encoder.safetensors").stat().st_mtime_ns == written


def test_a_run_of_other_settings_is_set_aside_and_made_again(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_folder(tmp_path, "none")
    pretrain(small("none"), store, run)
    first = encoder_of(run)
    other = small("none", "seed=1")
    assert not is_done(run, other, store)
    with caplog.at_level(logging.WARNING):
        pretrain(other, store, run)
    assert "made again, since seed: 0 -> 1" in caplog.text
    assert encoder_of(run).sha256 != first.sha256
    assert encoder_of(run.with_name(f"{run.name}.before-1")).sha256 == first.sha256


def test_a_run_on_another_corpus_is_not_this_one(store: Path, tmp_path: Path) -> None:
    run, config = run_folder(tmp_path, "none"), small("none")
    pretrain(config, store, run)
    record = (store / "store.json").read_text(encoding="utf-8")
    other = tmp_path / "store"
    copytree(store, other)
    found = json.loads(record)
    (other / "store.json").write_text(json.dumps(found | {"fingerprint": "0" * 64}))
    assert is_done(run, config, store)
    assert not is_done(run, config, other)


def test_keys_that_change_nothing_leave_a_run_as_it_is(store: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path, "none")
    pretrain(small("none"), store, run)
    assert is_done(run, small("none", "checkpoint_every=7"), store)


def test_all_arms_start_from_the_same_first_weights() -> None:
    first = []
    for arm in COMPARED:
        config = small(arm)
        with initial_weights(config.seed):
            network = config.pretext.network(build_encoder(config.encoder))
        first.append(network.encoder.state_dict())
    for other in first[1:]:
        assert all(torch.equal(one, other[name]) for name, one in first[0].items())
