"""What a run leaves: tables, an answer a scan by a published schema, and nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from covidssl.answers import (
    Answer,
    Burden,
    LungBurden,
    Outcome,
    Reason,
    SliceSaid,
    Uncertainty,
)
from covidssl.errors import ScanError
from covidssl.experiments import PredictConfig
from covidssl.files import read_csv
from covidssl.inference.journal import Entry, stem_of, write_answer
from covidssl.inference.schema import NAME, answer_schema, schema_text
from covidssl.inference.table import COLUMNS, write_tables
from covidssl.prediction import AnswerPlan, Predictor
from tests.inference.folders import ANSWERED, ask, parquet_rows, rows_of

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / NAME


def test_a_scan_has_its_row_its_answer_and_its_products(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert ask(model, scans, out, config=PredictConfig()) == 1
    rows = rows_of(out)
    assert list(rows) == [*(f"0{k}.png" for k in range(5)), "broken.png", "volume.nii.gz"]
    assert tuple(rows["00.png"]) == COLUMNS
    bad = rows.pop("broken.png")
    assert (bad["outcome"], bad["probability"], bad["label"]) == ("failed", "", "")
    assert bad["reasons"]
    assert bad["reason_codes"]
    for name, row in rows.items():
        assert row["outcome"] in ANSWERED
        assert 0 <= float(row["probability"]) <= 1
        answer = Answer.model_validate_json((out / row["answer"]).read_bytes())
        assert (answer.scan, str(answer.outcome)) == (name, row["outcome"])
        assert f"{answer.probability:.6f}" == row["probability"]
        assert answer.files
        for kind in ("lesion_map", "evidence_map"):
            assert row[kind] == answer.files.get(kind, "")
        assert (out / row["evidence_map"]).is_file()
        for path in answer.files.values():
            assert (out / path).stat().st_size > 0
            assert Path(path).name.startswith(stem_of(name))


def test_real_answers_keep_to_the_published_schema(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    ask(model, scans, tmp_path / "out")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    answers = [json.loads(path.read_text()) for path in (tmp_path / "out" / "scans").iterdir()]
    assert len(answers) == 7
    for answer in answers:
        jsonschema.validate(answer, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**answers[0], "outcome": "perhaps"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**answers[0], "name_of_the_patient": "x"}, schema)


def test_the_published_schema_is_that_of_the_code() -> None:
    """Written anew by: python -m covidssl.inference.schema > docs/schemas/answer.schema.json."""
    assert SCHEMA.read_text() == schema_text()
    assert answer_schema()["title"] == "Answer"


FULL = Answer(
    scan="=cmd", outcome=Outcome.WARNED, probability=0.1234567, label="COVID",
    reasons=(Reason(code="slab", text="a slab, 40 mm"), Reason(code="slab", text="thick")),
    uncertainty=Uncertainty(low=0.1, high=0.2, spread=0.3, of="ensemble", members=3),
    burden=Burden(both=LungBurden(percent=12.34567, lesion_ml=500.04, lung_ml=4000.0),
                  right=LungBurden(percent=20.0), left=LungBurden(percent=5.0)),
    slices=(SliceSaid(slice=3, probability=0.5, weight=1.0),), distance=1.23456,
    files={"lesion_map": "maps/a-lesions.nii.gz"},
)  # fmt: skip


def test_numbers_are_numbers_in_parquet_and_of_fixed_digits_in_the_table(tmp_path: Path) -> None:
    bare = Answer(scan="b", outcome=Outcome.FAILED, reasons=(Reason(code="x", text="y, z"),))
    entries = [
        Entry(one.scan, "", one.outcome, (), 1.5, write_answer(tmp_path, one))
        for one in (FULL, bare)
    ]
    write_tables(tmp_path, entries, {"c": "passed over for b: fewer slices"})
    first, second = read_csv(tmp_path / "predictions.csv")
    assert (tmp_path / "predictions.csv").read_text().splitlines()[1].startswith("'=cmd,warned,")
    assert (first["scan"], first["reason_codes"], first["reasons"]) == (
        "=cmd", "slab", "a slab, 40 mm; thick",
    )  # fmt: skip
    numbers = ("probability", "probability_low", "lesion_percent", "lesion_ml", "distance")
    assert [first[name] for name in numbers] == [
        "0.123457", "0.100000", "12.346", "500.0", "1.2346",
    ]  # fmt: skip
    assert (first["right_percent"], first["left_percent"]) == ("20.000", "5.000")
    assert not any(second[name] for name in numbers)
    typed, empty = parquet_rows(tmp_path)
    assert typed["probability"] == FULL.probability
    assert typed["reason_codes"] == ["slab", "slab"]
    assert empty["probability"] is None
    assert (first["lesion_map"], first["evidence_map"]) == ("maps/a-lesions.nii.gz", "")
    assert (second["lesion_map"], second["evidence_map"]) == ("", "")
    assert (typed["lesion_map"], typed["evidence_map"]) == ("maps/a-lesions.nii.gz", None)
    schema = pyarrow.parquet.read_schema(tmp_path / "predictions.parquet")
    assert tuple(schema.names) == COLUMNS
    assert schema.field("lesion_ml").type == pyarrow.float64()
    assert read_csv(tmp_path / "timings.csv")[0] == {"scan": "=cmd", "seconds": "1.500"}
    assert [row["scan"] for row in read_csv(tmp_path / "passed_over.csv")] == ["c"]


def test_the_run_says_how_scans_came_out_and_why(model: Path, scans: Path, tmp_path: Path) -> None:
    ask(model, scans, tmp_path / "out")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["counts"]["scans"] == 7
    assert run["counts"]["failed"] == 1
    assert sum(run["reasons"].values()) >= 1
    assert run["model"]["files"]
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["status"] == "done"
    assert record["summary"] == run["counts"]


def test_the_configuration_has_every_key_of_the_plan() -> None:
    plan = AnswerPlan().model_dump()
    assert plan.keys() <= PredictConfig().model_dump().keys()
    assert {key: PredictConfig().model_dump()[key] for key in plan} == plan


def test_what_nobody_foresaw_fails_one_scan_and_tells_nothing_of_it(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception may quote a header: neither its text nor a path is written anywhere."""
    answering = Predictor.answer

    def answer_or_stumble(self: Predictor, prepared: object) -> object:
        if prepared.ct.source == "02.png":  # type: ignore[attr-defined]
            raise RuntimeError("CANARY^JANE")
        return answering(self, prepared)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "answer", answer_or_stumble)
    assert ask(model, scans, tmp_path / "out") == 2
    row = rows_of(tmp_path / "out")["02.png"]
    assert (row["outcome"], row["reason_codes"]) == ("failed", "unexpected")
    assert "RuntimeError" in row["reasons"]
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "RuntimeError in test_records.answer_or_stumble line" in log
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes()


def test_a_scan_that_the_networks_refuse_costs_itself_alone(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = Predictor.answer

    def answer_or_refuse(self: Predictor, prepared: object) -> object:
        if prepared.ct.source == "02.png":  # type: ignore[attr-defined]
            raise ScanError("02.png: not for this network.", "strange")
        return answering(self, prepared)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "answer", answer_or_refuse)
    assert ask(model, scans, tmp_path / "out") == 2
    row = rows_of(tmp_path / "out")["02.png"]
    assert (row["reason_codes"], row["reasons"]) == ("strange", "not for this network.")


def test_answers_do_not_depend_on_what_else_is_asked(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    ask(model, scans, tmp_path / "all")
    ask(model, scans / "03.png", tmp_path / "one")
    assert rows_of(tmp_path / "one")["03.png"] == rows_of(tmp_path / "all")["03.png"]
    chances = [row["probability"] for row in parquet_rows(tmp_path / "all")]
    assert len(np.unique([one for one in chances if one is not None])) > 1
