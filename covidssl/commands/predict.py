"""`covidssl predict`: a model and folders of scans in, a table with its evidence out."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidssl.errors import CovidsslError, ScanError, traced
from covidssl.experiments import PredictConfig
from covidssl.files import read_csv, write_bytes, write_csv, write_json
from covidssl.io import Found, Reading, ScanFiles, find_scans, read_scan
from covidssl.io.choice import Choice, choose_series
from covidssl.model import CLASSIFIER, Model, load_model
from covidssl.prediction import predict
from covidssl.progress import track
from covidssl.pseudonyms import Pseudonyms, key_beside
from covidssl.runs import IfExists, RunFolder
from covidssl.training import make_fabric

log = logging.getLogger(__name__)

COLUMNS = (
    "scan", "status", "probability", "label", "lesion_burden", "seconds", "warning", "error",
    "patient", "series",
)  # fmt: skip
_ANSWERED = ("ok", "warned")
_SAVE_EVERY_S = 20.0
Rows = dict[str, dict[str, Any]]


def main(
    config: PredictConfig,
    model_path: Path,
    inputs: Sequence[Path],
    out: Path,
    if_exists: IfExists = "refuse",
    device: str = "auto",
) -> int:
    """Predict every scan found in `inputs`; one bad scan never stops the rest.

    Returns:
        How many scans failed.

    Raises:
        CovidsslError: when the model cannot be loaded, or there is no CT at all.
    """
    model = load_model(model_path).to(make_fabric(device, "32-true").device)
    ids = _pseudonyms(config, out)
    found = find_scans(inputs, ids if config.hash_paths else None)
    choice = Choice(found.scans, ()) if config.all_series else choose_series(found.scans)
    scans = choice.scans
    reading = Reading(config.pixels, config.policy, ids)
    with RunFolder(out, "predict", config, if_exists) as run:
        run.note_data(classifier=model.card.files[CLASSIFIER])
        if ids is not None:
            # Rows of one table must not have pseudonyms of two keys.
            run.note_data(ids=ids.of("key", "of the run"))
        run.done = False  # a finished run goes on when its INPUTs have grown
        stamps = {scan.name: scan.stamp() for scan in found.scans}
        rows = _done(out, stamps) if run.resumed else {}
        rows |= {scan.name: _passed_over(scan, why) for scan, why in choice.passed_over}
        todo = [scan for scan in scans if scan.name not in rows]
        log.info("%d scans, %d of them done", len(scans), len(scans) - len(todo))
        saved = time.monotonic()
        try:
            for scan in track(todo, "predicting", len(todo)):
                rows[scan.name] = _row(reading, model, scan, out)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    _save(out, rows, stamps, model, found)
                    saved = time.monotonic()
        finally:
            counts = _save(out, rows, stamps, model, found)
        inputs_digest = hashlib.sha256("".join(sorted(stamps.values())).encode()).hexdigest()
        run.note(device=str(model.device), summary=counts, data={"inputs": inputs_digest})
    return counts["failed"]


def _pseudonyms(config: PredictConfig, out: Path) -> Pseudonyms | None:
    if config.ids_key is None and not config.hash_paths:
        # Identifiers that are kept need no key.
        return Pseudonyms(b"", keep_ids=True) if config.keep_ids else None
    return Pseudonyms.from_file(config.ids_key or key_beside(out), config.keep_ids)


def _save(
    out: Path, rows: Rows, stamps: Mapping[str, str], model: Model, found: Found
) -> dict[str, int]:
    """Write the table, then `run.json`, without which no row of the table is taken for done."""
    ordered = [rows[scan.name] for scan in found.scans if scan.name in rows]
    counts = _counts(ordered)
    write_csv(out / "predictions.csv", COLUMNS, ordered)
    answered = [row["scan"] for row in ordered if row["status"] in _ANSWERED]
    write_json(
        out / "run.json",
        {
            "model": model.card.model_dump(mode="json"),
            "intended_use": model.card.intended_use,
            "counts": counts,
            "ignored": found.ignored,
            "scans": {
                name: {"picture": picture_name(name), "stamp": stamps[name]} for name in answered
            },
        },
    )
    return counts


def picture_name(scan: str) -> str:
    """File of a scan's heat map, relative to the output: a hash, since a name may be a path."""
    return f"heatmaps/{hashlib.sha256(scan.encode()).hexdigest()[:16]}.png"


def _passed_over(scan: ScanFiles, why: str) -> dict[str, Any]:
    return {"scan": scan.name, "status": "passed_over", "warning": why}


def _row(reading: Reading, model: Model, scan: ScanFiles, out: Path) -> dict[str, Any]:
    began = time.perf_counter()
    row: dict[str, Any] = {"scan": scan.name}
    try:
        ct = read_scan(scan, reading)
        said = predict(model, ct)
    except ScanError as error:
        log.warning("failed: %s", error)
        row |= {"status": "failed", "error": str(error)}
    except CovidsslError:
        raise
    except Exception as error:  # not foreseen, but no reason to lose the other scans
        log.error("failed: %s: %s", scan.name, traced(error))
        row |= {"status": "failed", "error": f"unexpected {type(error).__name__}; see log.txt"}
    else:
        burden = said.lesion_burden
        row |= {
            "status": "warned" if said.warnings or ct.repairs else "ok",
            "probability": f"{said.probability:.4f}",
            "label": said.label,
            "lesion_burden": "" if burden is None else f"{burden:.4f}",
            "warning": "; ".join([*(f"mended: {one}" for one in ct.repairs), *said.warnings]),
            "patient": ct.patient,
            "series": ct.series,
        }
        write_bytes(out / picture_name(scan.name), said.picture)
    return row | {"seconds": f"{time.perf_counter() - began:.2f}"}


def _done(out: Path, stamps: Mapping[str, str]) -> Rows:
    """Rows of an earlier run whose files are still the same; one that failed is tried again.

    A name alone says too little: another INPUT may hold another patient's scan of that name.
    """
    try:
        scans = json.loads((out / "run.json").read_text(encoding="utf-8"))["scans"]
        table = read_csv(out / "predictions.csv")
    except (OSError, ValueError, KeyError):
        return {}
    return {
        row["scan"]: dict(row)
        for row in table
        if row["status"] in _ANSWERED
        and row["scan"] in stamps
        and scans.get(row["scan"], {}).get("stamp") == stamps[row["scan"]]
    }


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts = {"scans": len(rows), "ok": 0, "warned": 0, "passed_over": 0, "failed": 0}
    for row in rows:
        counts[str(row["status"])] += 1
    return counts
