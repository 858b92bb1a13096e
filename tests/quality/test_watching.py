"""Pretraining watched from end to end: what is written, what is kept, when it stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from covidssl.clean_slices import open_slices, stored_pictures
from covidssl.commands import finetune, prepare, pretrain, report
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError, WeightsError
from covidssl.experiments import FinetuneConfig, PrepareConfig, PretrainConfig
from covidssl.files import read_csv, write_csv
from covidssl.finetuning import Places
from covidssl.model import load_model
from covidssl.pretraining import Watching
from covidssl.quality import CHOSEN_ON, hold_out
from covidssl.starting import start_from
from covidssl.weights import load_encoder, save_weights
from tests.quality.made import write_chests

SMALL = (
    "frame.size=32", "frame.pixels=windowed", "encoder.channels=[8,8,16]", "training.steps=6",
    "training.batch_size=4", "training.warmup_steps=1", "training.learning_rate=1e-2",
    "checkpoint_every=3", "pictures_every=100", "quality.every=2", "quality.lesion_slices=6",
)  # fmt: skip
SCANS, HELD_OUT = 40, 2


def config(*more: str, labelled: Path | None = None) -> PretrainConfig:
    return load_config(PretrainConfig, None, [*SMALL, *more]).probing(labelled, None)


def rows_of(run: Path) -> list[dict[str, str]]:
    """The rows of `quality.csv`, without the time that they took."""
    rows = read_csv(run / "quality.csv")
    return [{name: text for name, text in row.items() if name != "seconds"} for row in rows]


def record_of(run: Path) -> dict[str, dict[str, object]]:
    return dict(json.loads((run / "record.json").read_text()))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of forty slices, a labelled set, and one watched run."""
    root = tmp_path_factory.mktemp("watching")
    write_chests(root / "unlabelled", SCANS)
    (root / "unlabelled" / "labels.csv").unlink()
    prepare.main(PrepareConfig(), [root / "unlabelled"], root / "store")
    labels = write_chests(root / "labelled", 24)
    pretrain.main(config(labelled=labels), root / "store", root / "run", device="cpu")
    return root


def test_every_evaluation_is_a_row_and_the_first_is_of_the_untrained_network(root: Path) -> None:
    rows = rows_of(root / "run")
    assert [int(row["step"]) for row in rows] == [0, 2, 4, 6]
    assert set(rows[0]) == {
        "step", "probe_auroc", "probe_auroc_mean_of_folds", "knn_auroc", "error_inside",
        "error_outside", "lesion_auroc", "lesion_map_auroc",
    }  # fmt: skip
    assert float(rows[0]["lesion_auroc"]) == 0.5
    assert float(rows[-1]["lesion_auroc"]) != 0.5
    assert (root / "run" / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_held_out_teaches_nothing_and_is_written_down(root: Path) -> None:
    settings = config()
    slices = stored_pictures(open_slices(root / "store"), settings.frame)
    held = hold_out(slices, settings.quality)
    assert not set(held.learnt.tolist()) & set(held.drawn_on.tolist())
    record = record_of(root / "run")["quality"]["lesions"]
    assert isinstance(record, dict)
    assert (record["scans_held_out"], record["digest"]) == (HELD_OUT, held.digest)
    assert load_encoder(root / "run")[1].trained_on.pictures == SCANS - HELD_OUT


def test_a_small_store_gives_no_scan_away(root: Path) -> None:
    slices = stored_pictures(open_slices(root / "store"), config().frame)
    held = hold_out(slices, config("quality.held_out=0.02").quality)
    assert held.scans == 0
    assert held.learnt.tolist() == list(range(SCANS))
    assert len(held.drawn_on) == 6


def test_the_record_says_which_labels_were_looked_at_without_a_name(root: Path) -> None:
    text = (root / "run" / "record.json").read_text()
    probe = json.loads(text)["quality"]["probe"]
    assert (probe["scans"], probe["positive"], len(probe["names_sha256"])) == (24, 12, 64)
    assert "patients" in probe["folds"]
    assert "labelled/" not in text + (root / "run" / "config.yaml").read_text()
    assert "95 % interval" in text


def test_a_killed_run_goes_on_as_if_it_had_not_been_but_not_with_other_labels(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, step = config(labelled=root / "labelled" / "labels.csv"), Watching.step

    def killed(self: Watching, *given: object) -> object:
        look = step(self, *given)  # type: ignore[arg-type]
        if given[1].step == 4:  # type: ignore[attr-defined]
            raise RuntimeError("killed after an evaluation, before a checkpoint")
        return look

    with monkeypatch.context() as patch:
        patch.setattr(Watching, "step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain.main(settings, root / "store", tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="changed since it was started: probe"):
        pretrain.main(config(), root / "store", tmp_path / "run", "resume", device="cpu")
    pretrain.main(settings, root / "store", tmp_path / "run", "resume", device="cpu")
    assert rows_of(tmp_path / "run") == rows_of(root / "run")
    for name in ("encoder", "best-encoder", "restoration", "best-restoration"):
        for kind in ("safetensors", "json"):
            whole = (root / "run" / f"{name}.{kind}").read_bytes()
            assert (tmp_path / "run" / f"{name}.{kind}").read_bytes() == whole, name


def test_it_stops_by_its_rule_and_stays_stopped(root: Path, tmp_path: Path) -> None:
    settings = config("training.steps=20", "quality.patience=2", "quality.minimum_gain=0.9")
    for if_exists in ("refuse", "resume"):
        pretrain.main(settings, root / "store", tmp_path / "run", if_exists, device="cpu")  # type: ignore[arg-type]
        assert [int(row["step"]) for row in rows_of(tmp_path / "run")] == [0, 2, 4, 6]
        assert len(read_csv(tmp_path / "run" / "metrics.csv")) == 6


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_encoder_that_is_handed_on_is_the_one_that_was_asked_for(
    root: Path, tmp_path: Path, keep: str
) -> None:
    # A rate so high that what was good is lost again.
    wild = ("seed=1", "training.learning_rate=0.3", "training.steps=5", "quality.every=1")
    settings = config(*wild, f"quality.keep={keep}")
    run = pretrain.main(settings, root / "store", tmp_path / "run", device="cpu")
    learnt = rows_of(run)[1:]
    best = max(learnt, key=lambda row: float(row["lesion_auroc"]))
    assert best["step"] != "5"
    card = load_encoder(run)[1]
    assert card.metrics["kept_step"] == (float(best["step"]) if keep == "best" else 5.0)
    assert card.trained_on.steps == card.metrics["kept_step"]
    beside, own = (load_file(run / f"{name}encoder.safetensors") for name in ("best-", ""))
    assert all(torch.equal(own[name], beside[name]) for name in own) == (keep == "best")
    whole = load_file(run / "restoration.safetensors")
    assert all(torch.equal(own[name], whole[f"encoder.{name}"]) for name in own)


def test_a_pretext_that_restores_nothing_is_probed_alone(root: Path, tmp_path: Path) -> None:
    rotation = config("pretext.kind=rotation", labelled=root / "labelled" / "labels.csv")
    run = pretrain.main(rotation, root / "store", tmp_path / "run", device="cpu")
    assert "lesion_auroc" not in rows_of(run)[0]
    assert (run / CHOSEN_ON).is_file()
    assert "probe_auroc" in load_encoder(run)[1].metrics


def test_scans_that_chose_an_encoder_do_not_test_what_is_made_of_it(
    root: Path, tmp_path: Path
) -> None:
    settings = load_config(FinetuneConfig, None, ["training.steps=1", "training.batch_size=4"])
    places = Places(tmp_path / "run", root / "run", device="cpu")
    with pytest.raises(DataError, match="test split, which the model that it starts from has seen"):
        finetune.main(settings, root / "labelled" / "labels.csv", places)


def refused_by_leakage(root: Path, out: Path, start: Path) -> bool:
    """Whether fine-tuning refuses to test on scans that it knows of."""
    settings = load_config(FinetuneConfig, None, ["learns=probe"])
    places = Places(out, start, cache=root / "cache", device="cpu")
    try:
        finetune.main(settings, root / "labelled" / "labels.csv", places)
    except DataError as error:
        return "which the model that it starts from has seen" in str(error)
    return False


@pytest.mark.parametrize("kind", ["rotation", "none"])
def test_what_chose_an_encoder_is_known_of_every_one_that_starts_from_it(
    root: Path, tmp_path: Path, kind: str
) -> None:
    first, last = root / "run", tmp_path / "last"
    settings = config(f"pretext.kind={kind}", "training.steps=1", "quality.every=null")
    for name in ("on", "last"):
        first = pretrain.main(settings, root / "store", tmp_path / name, init=first, device="cpu")
    assert refused_by_leakage(root, tmp_path / "tuned", last)
    known = len(load_file(root / "run" / CHOSEN_ON)["chose"])
    assert len(load_file(last / CHOSEN_ON)["chose"]) == known == 24


def test_labels_that_choose_anew_are_known_beside_those_of_before(
    root: Path, tmp_path: Path
) -> None:
    labels = root / "labelled" / "labels.csv"
    again = config("training.steps=1", labelled=labels)
    run = pretrain.main(again, root / "store", tmp_path / "run", init=root / "run", device="cpu")
    assert len(load_file(run / CHOSEN_ON)["chose"]) == 48


def test_an_encoder_without_its_prints_says_that_leakage_could_not_be_checked(
    root: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("encoder.safetensors", "encoder.json"):
        shutil.copy(root / "run" / name, moved / name)
    on = pretrain.main(
        config("training.steps=1", "quality.every=null", "pretext.kind=rotation"),
        root / "store", tmp_path / "on", init=moved, device="cpu",
    )  # fmt: skip
    for start in (moved, on):
        tuned = tmp_path / f"tuned-{start.name}"
        assert not refused_by_leakage(root, tuned, start)
        assert "labelled scans chose" in load_model(tuned).card.unchecked


def test_prints_of_another_encoder_are_not_taken_for_its_own(root: Path, tmp_path: Path) -> None:
    for name in ("encoder.safetensors", "encoder.json"):
        shutil.copy(root / "run" / name, tmp_path / name)
    prints = load_file(root / "run" / CHOSEN_ON)
    save_weights(tmp_path / CHOSEN_ON, {n: tensor[:3].contiguous() for n, tensor in prints.items()})
    with pytest.raises(WeightsError, match="not the weights that the card"):
        start_from(tmp_path, None, None, 0)


@pytest.mark.parametrize(("patience", "choose"), [("null", False), ("9", True)])
def test_with_the_last_encoder_kept_labels_choose_only_when_it_ends(
    root: Path, tmp_path: Path, patience: str, choose: bool
) -> None:
    settings = config(
        "training.steps=2", "quality.keep=last", f"quality.patience={patience}",
        labelled=root / "labelled" / "labels.csv",
    )  # fmt: skip
    run = pretrain.main(settings, root / "store", tmp_path / "run", device="cpu")
    assert (run / "best-encoder.safetensors").is_file() == choose
    assert (run / CHOSEN_ON).is_file() == bool(load_encoder(run)[1].chosen_on) == choose


def test_where_nothing_is_learnt_labels_choose_nothing(root: Path, tmp_path: Path) -> None:
    settings = config("pretext.kind=none", labelled=root / "labelled" / "labels.csv")
    run = pretrain.main(settings, root / "store", tmp_path / "run", device="cpu")
    assert len(rows_of(run)) == 1
    assert not (run / CHOSEN_ON).exists()


def test_a_rule_that_needs_a_lesion_map_is_refused_at_the_start(root: Path, tmp_path: Path) -> None:
    settings = config("quality.rule=lesion_map_auroc", "pretext.lesion_head=none")
    with pytest.raises(UsageError, match=r"pretext\.lesion_head"):
        pretrain.main(settings, root / "store", tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_nothing_is_looked_at_where_that_was_asked_for(root: Path, tmp_path: Path) -> None:
    run = pretrain.main(
        config("quality.every=null"), root / "store", tmp_path / "run", device="cpu"
    )
    assert not [*run.glob("quality.*"), *run.glob("best-*"), *run.glob(CHOSEN_ON)]
    assert load_encoder(run)[1].trained_on.pictures == SCANS


def test_the_page_shows_it(root: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.main([root / "run"], page)
    assert "Is it learning?" in page.read_text()


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["COVID"] * 6, "expected two classes"),
        (["COVID", "non-COVID"] * 3, "could be read"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_before_anything_is_learnt(
    root: Path, tmp_path: Path, labels: list[str], told: str
) -> None:
    rows = []
    for place, label in enumerate(labels):
        (tmp_path / f"{place}.png").write_bytes(b"\x89PNG\r\n\x1a\n and no picture")
        rows.append({"path": f"{place}.png", "label": label})
    write_csv(tmp_path / "labels.csv", ("path", "label"), rows)
    with pytest.raises(DataError, match=told):
        pretrain.main(
            config(labelled=tmp_path / "labels.csv"), root / "store", tmp_path / "run", device="cpu"
        )
    assert not (tmp_path / "run" / "metrics.csv").exists()
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_labelled_set_needs_evaluations(root: Path, tmp_path: Path) -> None:
    settings = config("quality.every=null", labelled=root / "labelled" / "labels.csv")
    with pytest.raises(UsageError, match=r"quality\.every"):
        pretrain.main(settings, root / "store", tmp_path / "run", device="cpu")
