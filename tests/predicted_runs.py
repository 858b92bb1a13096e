"""Folders of predictions as `covidssl predict` leaves them, of phantoms and made-up answers."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from covidssl.answers import (
    Answer,
    Burden,
    LungBurden,
    Outcome,
    Reason,
    SliceSaid,
    Uncertainty,
)
from covidssl.files import write_csv, write_json
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lungs import segment_lungs
from covidssl.maps import ScanMaps
from covidssl.phantom import phantom_chest
from covidssl.prediction.steps import Answered, Prepared
from covidssl.randomness import numpy_generator
from covidssl.scan_frames import frames_of_scan
from covidssl.strips import write_strip

REASONS = {
    Outcome.OK: (),
    Outcome.WARNED: (
        Reason(code="slab", text="a thin slab: 12 slices over 60 mm, where lungs are 250 mm high"),
    ),
    Outcome.ABSTAINED: (Reason(code="not_chest", text="no plausible lungs were found"),),
    Outcome.FAILED: (Reason(code="cut_short", text="the file is cut short"),),
}


@cache
def answered_phantom(
    seed: int, shape: tuple[int, int, int] = (20, 72, 72), depth: int | None = None
) -> Answered:
    """A phantom with maps that are made up: what is dense in its lungs, and waves of evidence."""
    z, y, x = shape
    phantom = phantom_chest(seed, bool(seed % 2), shape, (280 / z, 340 / y, 340 / x))
    lungs = segment_lungs(phantom.ct)
    frame = Frame(size=64, pixels=Pixels.HU, depth=depth)
    cut = frames_of_scan(phantom.ct, lungs, frame)
    frames = cut.frames if depth is None else cut.frames[0]
    inside = cut.lungs if depth is None else cut.lungs[0]
    n, height, width = frames.shape
    weight = np.arange(1, n + 1) / np.arange(1, n + 1).sum()
    waves = np.sin(np.mgrid[:height, :width].sum(axis=0) / 9 + seed)[None] * inside
    evidence = (waves * weight[:, None, None] * 0.01).astype(np.float32)
    lesion = np.clip(frames / 65535 - 0.25, 0, 1).astype(np.float32) * inside
    answer = made_up(f"phantom {seed}", Outcome.OK, 0.8)
    said = tuple(
        SliceSaid(slice=int(k), probability=0.5, weight=float(w))
        for k, w in zip(cut.slices, weight, strict=True)
    )
    answer = answer.model_copy(update={"slices": said if depth is None else ()})
    maps = ScanMaps(cut.slices, cut.box, evidence, lesion, answer.burden)
    return Answered(Prepared(phantom.ct, lungs, cut), answer, maps)


def made_up(scan: str, outcome: Outcome, probability: float) -> Answer:
    """What may be said of a scan."""
    if outcome in (Outcome.ABSTAINED, Outcome.FAILED):
        return Answer(scan=scan, outcome=outcome, reasons=REASONS[outcome])
    burden = [
        LungBurden(
            percent=30 * probability * share, lesion_ml=1350 * probability * share, lung_ml=ml
        )
        for share, ml in ((1.0, 4500.0), (1.4, 2400.0), (0.55, 2100.0))
    ]
    spread = Uncertainty(
        low=max(0.0, probability - 0.07), high=min(1.0, probability + 0.05), spread=0.2,
        of="test-time augmentation", members=8,
    )  # fmt: skip
    return Answer(
        scan=scan,
        outcome=outcome,
        reasons=REASONS[outcome],
        probability=probability,
        uncertainty=spread,
        label="COVID" if probability >= 0.47 else "non-COVID",
        operating_point=0.47,
        burden=Burden(both=burden[0], right=burden[1], left=burden[2]),
        distance=3 + 2 * probability,
        distance_limit=6.5,
        model="4be1c9" * 10 + "abcd",
    )


def stem_of(scan: str) -> str:
    return hashlib.sha256(scan.encode()).hexdigest()[:16]


def outcome_of(number: int) -> Outcome:
    """Of every ten scans one is warned of, one not answered, and one not readable."""
    special = {3: Outcome.WARNED, 6: Outcome.ABSTAINED, 8: Outcome.FAILED}
    return special.get(number % 10, Outcome.OK)


@cache
def products(kind: int, shape: tuple[int, int, int]) -> dict[str, tuple[str, bytes]]:
    """What `write_strip` writes of a phantom: name, with `STEM` in it, and content by kind."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_strip(Path(folder), "STEM", answered_phantom(kind, shape))
        return {what: (name, (Path(folder) / name).read_bytes()) for what, name in files.items()}


def write_predictions(
    folder: Path, names: Sequence[str], shape: tuple[int, int, int] = (20, 72, 72)
) -> None:
    """Everything but `record.json`; the pictures of two phantoms stand for all scans."""
    generator = numpy_generator(7)
    rows = []
    for number, name in enumerate(names):
        stem, outcome = stem_of(name), outcome_of(number)
        answer = made_up(name, outcome, round(float(generator.random()), 4))
        kind = number % 2
        made = {} if outcome is Outcome.FAILED else products(kind, shape)
        files = {what: path.replace("STEM", stem) for what, (path, _) in made.items()}
        for what, path in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(made[what][1])
        update: dict[str, object] = {"files": files}
        if answer.label:
            update["slices"] = answered_phantom(kind, shape).answer.slices
        answer = answer.model_copy(update=update)
        (folder / "scans").mkdir(parents=True, exist_ok=True)
        (folder / "scans" / f"{stem}.json").write_text(answer.model_dump_json())
        said = answer.probability
        rows.append(
            {
                "scan": name,
                "outcome": outcome,
                "probability": "" if said is None else f"{said:.6f}",
                "label": answer.label,
                "answer": f"scans/{stem}.json",
            }
        )
    columns = ("scan", "outcome", "probability", "label", "answer")
    write_csv(folder / "predictions.csv", columns, rows)
    write_json(folder / "run.json", {"model": {"classes": ["non-COVID", "COVID"]}})
