"""The tables of a run: a row a scan, made anew from the scans' answers each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidssl.answers import Answer, LungBurden
from covidssl.files import replacing, write_csv
from covidssl.inference.journal import Entry, answer_path, read_answer

if TYPE_CHECKING:
    import pyarrow

COLUMNS = (
    "scan", "outcome", "reason_codes", "reasons", "probability", "probability_low",
    "probability_high", "label", "lesion_percent", "lesion_ml", "lung_ml", "right_percent",
    "left_percent", "distance", "patient", "series", "answer", "lesion_map",
    "evidence_map",
)  # fmt: skip
TABLE, PARQUET = "predictions.csv", "predictions.parquet"
PASSED_OVER, TIMINGS = "passed_over.csv", "timings.csv"

_DECIMALS = {
    "probability": 6, "probability_low": 6, "probability_high": 6, "lesion_percent": 3,
    "right_percent": 3, "left_percent": 3, "lesion_ml": 1, "lung_ml": 1, "distance": 4,
}  # fmt: skip
_LISTS = ("reason_codes", "reasons")
_ROWS_AT_ONCE = 1000


def write_tables(out: Path, entries: Sequence[Entry], passed_over: Mapping[str, str]) -> None:
    """Write `predictions.csv`, `predictions.parquet`, `timings.csv` and `passed_over.csv`.

    What is in the first two depends on the scans and the model alone; what took how long stands
    apart. Rows are read from the answers one by one: no more than a thousand are held.

    Args:
        out: folder of the run.
        entries: of the journal, in the order of the rows.
        passed_over: names of the series that were not chosen, and why.

    Raises:
        CovidsslError: when the disk is full.
    """
    write_csv(out / TABLE, COLUMNS, (_as_text(row) for row in rows_of(out, entries)))
    _write_parquet(out / PARQUET, rows_of(out, entries))
    spent = ({"scan": one.scan, "seconds": f"{one.seconds:.3f}"} for one in entries)
    write_csv(out / TIMINGS, ("scan", "seconds"), spent)
    passed = ({"scan": name, "reason": why} for name, why in passed_over.items())
    write_csv(out / PASSED_OVER, ("scan", "reason"), passed)


def rows_of(out: Path, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """A row a scan, as numbers and lists; None for what there is not."""
    for entry in entries:
        yield _row(read_answer(out, entry.scan))


def _row(answer: Answer) -> dict[str, Any]:
    burden, uncertain = answer.burden, answer.uncertainty
    both = burden.both if burden is not None else None
    return {
        "scan": answer.scan,
        "outcome": str(answer.outcome),
        "reason_codes": [reason.code for reason in answer.reasons],
        "reasons": [reason.text for reason in answer.reasons],
        "probability": answer.probability,
        "probability_low": uncertain.low if uncertain is not None else None,
        "probability_high": uncertain.high if uncertain is not None else None,
        "label": answer.label or None,
        "lesion_percent": _percent(both),
        "lesion_ml": both.lesion_ml if both is not None else None,
        "lung_ml": both.lung_ml if both is not None else None,
        "right_percent": _percent(burden.right) if burden is not None else None,
        "left_percent": _percent(burden.left) if burden is not None else None,
        "distance": answer.distance,
        "patient": answer.patient or None,
        "series": answer.series or None,
        "answer": answer_path(answer.scan),
        "lesion_map": answer.files.get("lesion_map"),
        "evidence_map": answer.files.get("evidence_map"),
    }


def _percent(lung: LungBurden | None) -> float | None:
    return None if lung is None else lung.percent


def _as_text(row: Mapping[str, Any]) -> dict[str, object]:
    text: dict[str, object] = {}
    for column, value in row.items():
        if value is None:
            text[column] = ""
        elif column in _DECIMALS:
            text[column] = f"{value:.{_DECIMALS[column]}f}"
        elif column == "reason_codes":
            text[column] = ";".join(dict.fromkeys(value))
        elif column == "reasons":
            text[column] = "; ".join(value)
        else:
            text[column] = value
    return text


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = _schema()
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def _schema() -> pyarrow.Schema:
    import pyarrow

    def kind(column: str) -> pyarrow.DataType:
        if column in _LISTS:
            return pyarrow.list_(pyarrow.string())
        return pyarrow.float64() if column in _DECIMALS else pyarrow.string()

    return pyarrow.schema([(column, kind(column)) for column in COLUMNS])
