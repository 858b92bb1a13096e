"""Given in place of a model, a folder is called what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covidssl.errors import WeightsError
from covidssl.files import write_json
from covidssl.folder_kinds import what_is
from covidssl.lesion_model import load_answering
from covidssl.model import load_model
from covidssl.weights import load_encoder
from tests.model_folders import write_untrained_model


def run_of(folder: Path, verb: str, status: str = "done") -> Path:
    write_json(folder / "record.json", {"verb": verb, "status": status})
    return folder


def test_a_mistyped_path_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    write_untrained_model(tmp_path / "finetune" / "model")
    for load in (load_answering, load_model):
        with pytest.raises(WeightsError) as error:
            load(tmp_path / "finetone")
        said = str(error.value)
        assert said.startswith(f"{tmp_path / 'finetone'}: there is no such folder. ")
        assert f"Did you mean {tmp_path / 'finetune'}?" in said
    assert what_is(tmp_path / "nowhere" / "at" / "all") == "there is no such folder."


def test_a_store_is_no_model(tmp_path: Path) -> None:
    store = run_of(tmp_path / "store", "prepare")
    with pytest.raises(WeightsError, match=r"store: is a prepared store .*finetune.*`builtin`"):
        load_answering(store)
    with pytest.raises(WeightsError, match=r"is a prepared store .*run of `covidssl finetune`\.$"):
        load_model(store)
    with pytest.raises(WeightsError, match=r"is a prepared store .*run of `covidssl pretrain`"):
        load_encoder(store)


def test_a_run_is_told_by_its_verb_and_whether_it_is_done(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a run of `covidssl finetune` that is stopped"):
        load_answering(run_of(tmp_path / "a", "finetune", "stopped"))
    with pytest.raises(WeightsError, match=r"is a run of `covidssl predict`\. Expected"):
        load_model(run_of(tmp_path / "b", "predict"))


@pytest.mark.parametrize("record", ["", "[]", "{", json.dumps({"verb": 3}), "\0"])
def test_a_folder_of_nothing_known_is_told_whatever_its_record_says(
    record: str, tmp_path: Path
) -> None:
    (tmp_path / "record.json").write_text(record)
    with pytest.raises(WeightsError, match="is a folder without a model"):
        load_model(tmp_path)


def test_weights_without_their_card_still_ask_for_the_card(tmp_path: Path) -> None:
    (write_untrained_model(tmp_path / "model") / "card.json").unlink()
    for given in (tmp_path, tmp_path / "model"):
        with pytest.raises(WeightsError, match="card that must stand beside the weights"):
            load_answering(given)
