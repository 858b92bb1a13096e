"""Parts of one set on several machines: each scan in one of them, and one table of all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covidssl.commands import predict as verb
from covidssl.errors import UsageError
from covidssl.experiments import PredictConfig
from covidssl.inference.shard import Shard
from tests.inference.folders import PLAIN, ask, rows_of, with_random_head, write_pictures
from tests.model_folders import write_untrained_model

NAMES = [f"clinic/{number}.nii" for number in range(3000)]


def test_every_scan_is_of_one_shard_and_shards_are_of_a_size() -> None:
    shards = [Shard(number, 7) for number in range(1, 8)]
    counts = [sum(shard.holds(name) for name in NAMES) for shard in shards]
    assert sum(counts) == len(NAMES)
    assert min(counts) > 0.8 * len(NAMES) / 7
    assert all(Shard().holds(name) for name in NAMES)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/4/2", "-1/4"])
def test_what_means_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n"):
        Shard.parse(text)
    assert Shard.parse(" 2/8 ") == Shard(2, 8)


@pytest.fixture
def sharded(model: Path, scans: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    for number in (1, 2):
        ask(model, scans, out, shard=Shard(number, 2))
    return out


def test_joined_shards_are_the_run_of_all(
    model: Path, scans: Path, sharded: Path, tmp_path: Path
) -> None:
    assert all(rows_of(sharded / f"shard-{k}-of-2") for k in (1, 2))
    assert ask(model, scans, tmp_path / "whole") == 1
    assert verb.join(PLAIN, model, [scans], sharded) == 1
    whole = tmp_path / "whole" / "predictions.csv"
    assert (sharded / "predictions.csv").read_bytes() == whole.read_bytes()
    run = json.loads((sharded / "run.json").read_text())
    assert run["counts"] == json.loads((tmp_path / "whole" / "run.json").read_text())["counts"]
    assert json.loads((sharded / "record.json").read_text())["status"] == "done"
    for row in rows_of(sharded).values():
        answer = json.loads((sharded / row["answer"]).read_text())
        assert all((sharded / path).is_file() for path in answer["files"].values())
        assert bool(answer["files"]) == (row["outcome"] != "failed")
        assert (sharded / row["answer"]).read_bytes() == (
            tmp_path / "whole" / row["answer"]
        ).read_bytes()
    before = (sharded / "predictions.csv").read_bytes()
    assert verb.join(PLAIN, model, [scans], sharded) == 1
    assert (sharded / "predictions.csv").read_bytes() == before
    assert files_of(sharded) == files_of(tmp_path / "whole")


def files_of(out: Path) -> list[str]:
    """Files of scans, hidden ones too."""
    places = (out / name for name in ("scans", "strips", "pictures", "maps"))
    return sorted(path.name for place in places if place.is_dir() for path in place.iterdir())


def test_a_join_follows_its_shards(model: Path, scans: Path, sharded: Path, tmp_path: Path) -> None:
    verb.join(PLAIN, model, [scans], sharded)
    (sharded / "scans" / ".x.json.1.part.json").write_text("left by a process that was killed")
    (scans / "00.png").unlink()
    (scans / "01.png").write_bytes(b"no picture any more")
    for number in (1, 2):
        ask(model, scans, sharded, "resume", shard=Shard(number, 2))
    assert verb.join(PLAIN, model, [scans], sharded) == 2
    ask(model, scans, tmp_path / "whole")
    assert files_of(sharded) == files_of(tmp_path / "whole")
    other = with_random_head(write_untrained_model(tmp_path / "other"), seed=1)
    for number in (1, 2):
        ask(other, scans, sharded, "overwrite", shard=Shard(number, 2))
    assert verb.join(PLAIN, other, [scans], sharded) == 2
    ask(other, scans, tmp_path / "anew")
    assert rows_of(sharded) == rows_of(tmp_path / "anew")


def test_a_join_that_is_refused_leaves_the_one_before(
    model: Path, scans: Path, sharded: Path
) -> None:
    verb.join(PLAIN, model, [scans], sharded)
    record = (sharded / "record.json").read_bytes()
    write_pictures(scans, 9)
    with pytest.raises(UsageError, match="scans are not answered"):
        verb.join(PLAIN, model, [scans], sharded)
    assert (sharded / "record.json").read_bytes() == record


def test_a_join_without_all_shards_or_all_scans_is_refused(
    model: Path, scans: Path, sharded: Path, tmp_path: Path
) -> None:
    write_pictures(scans, 9)
    with pytest.raises(UsageError, match=r"scans are not answered.*--resume"):
        verb.join(PLAIN, model, [scans], sharded)
    ask(model, scans, tmp_path / "part", shard=Shard(2, 3))
    with pytest.raises(UsageError, match="lacks shards 1/3, 3/3"):
        verb.join(PLAIN, model, [scans], tmp_path / "part")
    with pytest.raises(UsageError, match="holds no shard"):
        verb.join(PLAIN, model, [scans], tmp_path / "none")


def test_a_join_of_other_models_or_plans_is_refused(
    model: Path, scans: Path, sharded: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="configuration has changed: maps"):
        verb.join(PredictConfig(), model, [scans], sharded)
    other = with_random_head(write_untrained_model(tmp_path / "other"), seed=1)
    with pytest.raises(UsageError, match="was answered by other models"):
        verb.join(PLAIN, other, [scans], sharded)
    assert not (sharded / "predictions.csv").exists()


def test_runs_with_and_without_shards_do_not_mix(
    model: Path, scans: Path, sharded: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="was begun with 2 shards, not 3"):
        ask(model, scans, sharded, shard=Shard(3, 3))
    for if_exists in ("refuse", "resume", "overwrite"):
        with pytest.raises(UsageError, match="holds 2 of 2 shards"):
            ask(model, scans, sharded, if_exists)
    ask(model, scans / "00.png", tmp_path / "whole")
    with pytest.raises(UsageError, match="holds a run without shards"):
        ask(model, scans, tmp_path / "whole", shard=Shard(1, 2))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years")
    with pytest.raises(UsageError, match="not a folder that 'covidssl predict' made"):
        ask(model, scans, tmp_path / "mine", shard=Shard(1, 2))


def test_a_shard_without_scans_is_a_run_of_none(model: Path, scans: Path, tmp_path: Path) -> None:
    (own,) = [shard for shard in map(lambda k: Shard(k, 2), (1, 2)) if shard.holds("00.png")]
    other = Shard(3 - own.number, 2)
    assert ask(model, scans / "00.png", tmp_path / "out", shard=other) == 0
    assert rows_of(other.folder(tmp_path / "out")) == {}
