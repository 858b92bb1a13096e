"""`covidssl predict`: a model and folders of scans in, a table with its evidence out."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covidssl.commands.progress import track
from covidssl.errors import ScanError
from covidssl.experiments import PredictConfig
from covidssl.files import read_csv, write_bytes, write_csv, write_json
from covidssl.io import ScanFiles, find_scans, read_scan
from covidssl.model import Model, load_model
from covidssl.prediction import predict
from covidssl.runs import IfExists, RunFolder
from covidssl.training import make_fabric

log = logging.getLogger(__name__)

COLUMNS = (
    "scan", "status", "probability", "label", "lesion_burden", "seconds", "warning", "error"
)  # fmt: skip
_SAVE_EVERY = 50


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
    found = find_scans(inputs)
    with RunFolder(out, "predict", config, if_exists) as run:
        run.note_data(classifier=model.card.files["classifier.safetensors"])
        rows = _done(out) if run.resumed else {}
        todo = [scan for scan in found.scans if scan.name not in rows]
        log.info("%d scans, %d of them done", len(found.scans), len(found.scans) - len(todo))
        for number, scan in enumerate(track(todo, "predicting", len(todo)), start=1):
            rows[scan.name] = _row(config, model, scan, out)
            if number % _SAVE_EVERY == 0:
                write_csv(out / "predictions.csv", COLUMNS, rows.values())
        write_csv(out / "predictions.csv", COLUMNS, rows.values())
        counts = _counts(rows)
        write_json(
            out / "run.json",
            {
                "model": model.card.model_dump(mode="json"),
                "intended_use": model.card.intended_use,
                "counts": counts,
                "ignored": found.ignored,
                "scans": {
                    name: {"picture": picture_name(name)}
                    for name, row in rows.items()
                    if row["status"] != "failed"
                },
            },
        )
        run.done = False
        run.note(device=str(model.device), summary=counts)
    return counts["failed"]


def picture_name(scan: str) -> str:
    """File of a scan's heat map, relative to the output: a hash, since a name may be a path."""
    return f"heatmaps/{hashlib.sha256(scan.encode()).hexdigest()[:16]}.png"


def _row(config: PredictConfig, model: Model, scan: ScanFiles, out: Path) -> dict[str, Any]:
    began = time.perf_counter()
    row: dict[str, Any] = {"scan": scan.name}
    try:
        said = predict(model, read_scan(scan, config.pixels))
    except ScanError as error:
        log.warning("failed: %s", error)
        row |= {"status": "failed", "error": str(error)}
    except (RuntimeError, MemoryError, ValueError) as error:
        # Not foreseen, but still no reason to lose the other scans.
        log.exception("failed: %s", scan.name)
        row |= {"status": "failed", "error": f"unexpected {type(error).__name__}; see log.txt"}
    else:
        write_bytes(out / picture_name(scan.name), said.picture)
        burden = said.lesion_burden
        row |= {
            "status": "warned" if said.warnings else "ok",
            "probability": f"{said.probability:.4f}",
            "label": said.label,
            "lesion_burden": "" if burden is None else f"{burden:.4f}",
            "warning": "; ".join(said.warnings),
        }
    return row | {"seconds": f"{time.perf_counter() - began:.2f}"}


def _done(out: Path) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run; a scan that failed is tried again."""
    table = out / "predictions.csv"
    if not table.is_file():
        return {}
    return {row["scan"]: dict(row) for row in read_csv(table) if row["status"] != "failed"}


def _counts(rows: dict[str, dict[str, Any]]) -> dict[str, int]:
    counts = {"scans": len(rows), "ok": 0, "warned": 0, "failed": 0}
    for row in rows.values():
        counts[str(row["status"])] += 1
    return counts
