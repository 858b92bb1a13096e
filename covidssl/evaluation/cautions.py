"""What must be said beside the scores of a set: what was not read, what was learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from covidssl.evaluation.judged import Evaluation, Held
from covidssl.files import read_csv
from covidssl.model import LEARNT, Model
from covidssl.splits import LEARNT_FROM, overlap

ON_LEARNT = "scored on data that chose or taught the weights"
"""What is said of a split that the model learnt from."""


def splits_file(run_folder: Path) -> Path | None:
    """The splits of a run, given the run or its model folder; None where there are none."""
    files = (folder / "splits.csv" for folder in (run_folder, run_folder.parent))
    return next((file for file in files if file.is_file()), None)


def of_the_frames(held: Held) -> Iterator[str]:
    """Scans that could not be read, and those that were read with a warning."""
    wanted = {one.scan.name for one in held.assigned if one.split == held.split}
    dropped = [(name, reason) for name, reason in held.frames.dropped if name in wanted]
    if dropped:
        name, reason = dropped[0]
        yield (
            f"{len(dropped)} of {len(wanted)} scans could not be read and are not scored; "
            f"first: {name}: {reason.removeprefix(f'{name}: ')}"
        )
    warned = [(name, text) for name, text in held.frames.warned if name in wanted]
    if warned:
        count, (name, text) = len(dict(warned)), warned[0]
        yield f"{count} of {len(wanted)} scans were read with a warning; first: {name}: {text}"


def of_what_is_learnt(judged: Evaluation, model: Model, run_folder: Path) -> Iterator[str]:
    """What is to be said where the scans were learnt from by intent, or that cannot be known."""
    if judged.split in LEARNT_FROM:
        yield f"the {judged.split} split: {ON_LEARNT}"
        return
    if model.card.unchecked:
        yield f"whether scans were learnt from could not be checked in full: {model.card.unchecked}"
    if model.learnt is not None:
        return
    file = splits_file(run_folder)
    learnt = {row["scan"] for row in read_csv(file) if row["split"] in LEARNT_FROM} if file else ()
    alike = sum(one.scan.name in learnt for one in judged.scans)
    yield (
        f"whether scans were learnt from could not be checked: the model holds no {LEARNT}"
        + (
            f"; {alike} of {len(judged.scans)} are called like train or validation scans of its run"
            if alike
            else ""
        )
    )


def overlap_of(judged: Evaluation, model: Model, held: Held) -> str:
    """Which scored scans were learnt from, in words; empty for none or by intent."""
    if judged.split in LEARNT_FROM or model.learnt is None:
        return ""
    names = [one.scan.name for one in judged.scans]
    found = overlap(model.learnt, held.frames.prints, names)
    return str(found) if found.names else ""


def of_pixels(held: Held, own: Held) -> Iterator[str]:
    """Scans of an external set whose kind of pixel none of the internal ones has."""
    kinds = _kinds(held)
    known = _kinds(own)
    foreign = {kind: count for kind, count in kinds.items() if kind not in known}
    if foreign and known:
        told = ", ".join(f"{count} of {kinds.total()} scans are {kind}"
                         for kind, count in sorted(foreign.items()))  # fmt: skip
        yield (
            f"{told}, and the internal set is {' and '.join(sorted(known))}: pixels are of another "
            f"kind, so that a difference may come from them and not from the patients"
        )


def _kinds(held: Held) -> Counter[str]:
    wanted = {one.scan.name for one in held.assigned if one.split == held.split}
    pairs = zip(held.frames.scans, held.frames.pixels, strict=True)
    return Counter(str(kind) for scan, kind in pairs if scan.name in wanted)


def of_columns(held: Held, asked: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """Columns that an external set lacks, and scans whose row says nothing in one."""
    for column in asked:
        if column not in known:
            yield f"has no column '{column}': no subgroups by it"
            continue
        scored = [one.scan for one in held.assigned if one.split == held.split]
        empty = sum(not scan.columns.get(column) for scan in scored)
        if empty:
            yield (
                f"{empty} of {len(scored)} scans say nothing in column '{column}': they stand by "
                f"themselves as 'not given'"
            )
