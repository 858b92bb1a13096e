"""Put a restoration network into the box: the weights that ship with the package, with their card.

    python -m pipelines.box --pretrained RUN --store STORE --out covidssl/builtin \
        [--localised docs/records/localise/NAME.json]

Taken is a finished pretraining run of the pretext `perlin`, from scratch and without a label, whose
store holds slices of LUNA16 alone: their licences allow it. Written are `restoration.safetensors`,
`MODEL.md` and, last, `restoration.json`. How well the network localises comes from a record that
was measured of these very weights; without one the card says that it was not measured.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from covidssl.encoder_card import LICENCE_NOTE, EncoderCard, Localisation
from covidssl.errors import DataError, UsageError
from covidssl.files import write_bytes, write_text
from covidssl.lesion_model import BURDEN_THRESHOLD
from covidssl.model_page import lesions_markdown
from covidssl.store import Store
from covidssl.weights import RESTORATION, load_restoration
from data.counts import run
from pipelines.localising.cases import DESIGN_CASES

MOST_BYTES = 5_000_000
CARD, PAGE = "restoration.json", "MODEL.md"
SCORES = ("ap", "dice", "auroc", "ap_over_brightness")
"""Of a record, what the card takes over."""

LICENCES = (
    "The network in the box learnt from slices of LUNA16 (Setio et al. 2017, doi "
    "10.1016/j.media.2017.06.015; CC BY 4.0), whose scans are of LIDC-IDRI (Armato et al. 2015, "
    "doi 10.7937/K9/TCIA.2015.LO9QL9SX; CC BY 3.0). Both ask to be named. " + LICENCE_NOTE
)
"""What is trained further from the box takes it over; its end speaks of all data learnt from."""

# The series of LIDC-IDRI, as LUNA16 names its scans, and slices that were cut out of them.
_LUNA16 = re.compile(r"1\.3\.6\.1\.4\.1\.14519\.5\.2\.1\.6279\.6001\.\d+\.mhd(_\d+\.png)?")


def main(
    pretrained: Annotated[Path, typer.Option(help="The finished pretraining run.")],
    store: Annotated[Path, typer.Option(help="The store of LUNA16 slices that it learnt from.")],
    out: Annotated[Path, typer.Option(help="The folder of the box.")] = Path("covidssl/builtin"),
    localised: Annotated[Path | None, typer.Option(help="Record of how well it localises.")] = None,
) -> None:
    """Copy the weights of a run, and write their card.

    Raises:
        UsageError: for a run that is not finished, did not learn from this store alone, or is too
            large, and for a record that is not of these weights.
        DataError: for a store that holds anything but LUNA16.
    """
    weights = pretrained / RESTORATION
    _, card = load_restoration(weights)
    must_be_of_luna16(pretrained, card, store)
    measured = None if localised is None else read_localised(localised, card.sha256)
    card = card.model_copy(update={"localised": measured, "licence_note": LICENCES})
    texts = {
        PAGE: lesions_markdown(card.model_dump(mode="json"), BURDEN_THRESHOLD),
        CARD: card.model_dump_json(indent=2) + "\n",
    }
    content = weights.read_bytes()
    size = len(content) + sum(len(text.encode()) for text in texts.values())
    if size > MOST_BYTES:
        raise UsageError(
            f"{weights}: with its card it takes {size:,} bytes, and at most {MOST_BYTES:,} ship "
            f"with the package. Pretrain a smaller network (encoder.channels)."
        )
    # Without its card the folder is not whole, and nobody takes old words for new weights.
    (out / CARD).unlink(missing_ok=True)
    write_bytes(out / RESTORATION, content)
    for name, text in texts.items():
        write_text(out / name, text)
    typer.echo(f"{out}: {size:,} bytes, {'not ' if measured is None else ''}measured")


def must_be_of_luna16(run_folder: Path, card: EncoderCard, store: Path) -> None:
    """Refuse a run that is not finished, or that learnt from anything but a store of LUNA16.

    Raises:
        UsageError: when the run says something else.
        DataError: when the store holds other scans.
    """
    try:
        record = json.loads((run_folder / "record.json").read_text(encoding="utf-8"))
        said = {"verb": record["verb"], "status": record["status"], **record["data"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run_folder}: is no run of `covidssl pretrain`.") from error
    opened = Store.open(store)
    wanted = {
        "verb": "pretrain", "status": "done", "store": opened.fingerprint, "init": "none",
        "probe": "none",
    }  # fmt: skip
    differing = [
        f"{key} is {said.get(key, 'none')}, expected {value}"
        for key, value in wanted.items()
        if said.get(key, "none") != value
    ]
    if card.trained_on.data_fingerprint != opened.fingerprint:
        differing.append("its card names another store")
    if card.pretext != "perlin":
        differing.append(f"its pretext is {card.pretext or 'none'}, expected perlin")
    if differing:
        raise UsageError(f"{run_folder}: cannot go into the box: {'; '.join(differing)}.")
    others = [row.scan for row in opened.rows() if row.file and not _is_luna16(row.scan)]
    if others:
        raise DataError(
            f"{store}: {len(others)} scans are not called as those of LUNA16 are (first: "
            f"{others[0]}). The box takes what learnt from LUNA16 alone, whose licence is known; "
            f"prepare its slices by themselves, under their own names."
        )


def _is_luna16(scan: str) -> bool:
    return _LUNA16.fullmatch(scan.rpartition("/")[2]) is not None


def read_localised(path: Path, sha256: str) -> Localisation:
    """How well the lesion map of some weights does, from a record of `pipelines.localise`.

    Of each case average precision, Dice at the threshold that was fixed beforehand, AUROC, and how
    much higher the average precision is than that of brightness. What a case's own labels chose is
    left out, and so is a case of which nothing was measured.

    Args:
        path: JSON with `protocol`, `threshold`, `cases`, and the weights' SHA-256 in `pretraining`.
        sha256: of the weights that go into the box.

    Raises:
        UsageError: when it is no such record, or one of other weights.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        of = record["pretraining"]["weights_sha256"]
        scored = {
            case: {name: row[name] for name in SCORES if row.get(name) is not None}
            for case, row in record["cases"].items()
        }
        known = {key: record[key] for key in ("protocol", "threshold")}
        known["cases"] = {case: scores for case, scores in scored.items() if scores}
        known["design"] = [case for case in map(str, DESIGN_CASES) if case in known["cases"]]
        found = Localisation.model_validate_json(json.dumps(known))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise UsageError(
            f"{path}: is no record of a localisation; expected what `pipelines.localise` writes of "
            f"a network, with protocol, threshold, and value, low and high of each score."
        ) from error
    if of != sha256:
        raise UsageError(
            f"{path}: was measured of other weights (SHA-256 {of}, the run's are {sha256}). "
            f"Measure this network."
        )
    return found


if __name__ == "__main__":
    run(main)
