"""A pretraining that stands is found, one of other settings is set aside, a live one is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.commands import prepare
from covidssl.config import dump_config, load_config
from covidssl.errors import BusyError
from covidssl.experiments import PrepareConfig, PretrainConfig
from covidssl.runs import FREE, RunFolder, alone_in_run, look_at_run
from pipelines.study.arms import ArmName
from pipelines.study.pretraining import is_done, pretrain, pretrain_config, what_differs
from tests.scan_files import chest_grey, write_png

OTHER = {
    "checkpoint_every": 7,
    "pictures_every": 7,
    "training.workers": 3,
    "training.keep_checkpoints": 5,
    "training.checkpoint_minutes": 1,
}


def ended(run: Path, config: PretrainConfig) -> None:
    run.mkdir()
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (run / "record.json").write_text('{"verb": "pretrain", "status": "done"}', encoding="utf-8")


@pytest.mark.parametrize("key", FREE)
def test_what_changes_no_result_is_free_for_the_studies_and_for_the_verb(
    key: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended(run, PretrainConfig())
    other = load_config(PretrainConfig, None, [f"{key}={OTHER[key]}"])
    assert other != PretrainConfig()
    assert is_done(run, other)
    assert look_at_run(run, "pretrain", other, "resume").done


def test_any_other_key_makes_another_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended(run, PretrainConfig())
    for override in ("training.batch_size=7", "quality.every=3"):
        other = load_config(PretrainConfig, None, [override])
        assert override.partition("=")[0] in what_differs(run, other, tmp_path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    for number in range(3):
        write_png(data / f"{number}.png", chest_grey(64, number))
    prepare.main(PrepareConfig(), [data], data / "store")
    return data / "store"


def small(*overrides: str, arm: ArmName = "none") -> PretrainConfig:
    plan = "encoder={kind: unet, channels: [8, 8, 8]}"
    return pretrain_config(arm, overrides=["frame.size=32", plan, *overrides])


def test_a_run_that_is_worked_in_is_not_moved_away(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunFolder(run, "pretrain", small(), "refuse") as live:
        live.note_data(store="another")
        for other in (small("seed=1"), small()):
            with pytest.raises(BusyError, match="another 'covidssl pretrain' is working in it"):
                pretrain(other, store, run)
        assert [one.name for one in tmp_path.iterdir()] == ["run"]
    pretrain(small("seed=1"), store, run)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run", "run.before-1"]
    assert is_done(run, small("seed=1"), store)
    with alone_in_run(tmp_path / "run.before-1", "pretrain"):
        pass  # nobody holds what was set aside
