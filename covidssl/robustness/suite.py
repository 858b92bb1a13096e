"""The suite on scans: each is read once, and put through everything before the next one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.altering import (
    Alteration,
    Opened,
    Unaltered,
    opened,
    scan_key,
    under,
)
from covidssl.datasets import LabelledScan
from covidssl.each_scan import (
    Dropped,
    Kept,
    Progress,
    key_of,
    read_each,
    read_kept,
    write_kept,
)
from covidssl.errors import DataError, ScanError
from covidssl.hounsfield import Pixels
from covidssl.labelled_frames import ScanPrint, print_of
from covidssl.model import CLASSIFIER, Model
from covidssl.robustness.attack import Attack, attacked_logit
from covidssl.robustness.kinds import KINDS, corruptions
from covidssl.robustness.plan import RobustnessConfig
from covidssl.robustness.scale import scale_of
from covidssl.splits import Prints

_CACHE = 2  # raise it when what is kept of a scan changes
_DECIDE = {"seed", "kinds", "severities", "lungs", "attack_hu", "attack_grey", "attack_steps"}
CLEAN, ATTACK = "clean", "attack"
UNEXPECTED = "unexpected "


class Condition(NamedTuple):
    """One thing that is done to a scan before the model sees it.

    Attributes:
        kind: of `KINDS`, `clean` or `attack`.
        words: for people.
        severity: 0 for clean, else from 1 on.
        amount: in `unit`.
        unit: of the amount.
        model: what it is reckoned by.
    """

    kind: str
    words: str
    severity: int = 0
    amount: float = 0.0
    unit: str = ""
    model: str = ""


@dataclass(frozen=True)
class Suite:
    """What is done to every scan, in one order: clean, corruptions, attacks.

    Attributes:
        model: the classifier, on its device.
        config: what to do.
    """

    model: Model
    config: RobustnessConfig

    @property
    def alterations(self) -> list[Alteration]:
        """The clean scan, and the corruptions."""
        config = self.config
        again = config.lungs == "again"
        return [Unaltered(), *corruptions(config.kinds, config.severities, again)]

    @property
    def attacks(self) -> list[Attack]:
        """Those for the network's kind of pixel."""
        config, in_hu = self.config, self.model.card.frame.pixels is Pixels.HU
        bounds = config.attack_hu if in_hu else config.attack_grey
        return [Attack(bound, config.attack_steps) for bound in bounds]

    @property
    def conditions(self) -> list[Condition]:
        """What each alteration and attack is, in the order of the logits."""
        found = [Condition(CLEAN, "clean")]
        for one in corruptions(self.config.kinds, self.config.severities):
            kind = KINDS[one.kind]
            found.append(
                Condition(one.kind, kind.words, one.severity, one.amount, kind.unit, kind.model)
            )
        unit = "HU" if self.model.card.frame.pixels is Pixels.HU else "grey levels"
        by = f"projected gradient descent, {self.config.attack_steps} steps (Madry et al. 2018)"
        for severity, attack in enumerate(self.attacks, start=1):
            found.append(Condition(ATTACK, "attack", severity, attack.bound, unit, by))
        return found


class OneScan(NamedTuple):
    """What is known of one scan.

    Attributes:
        logit: (C,) a condition; NaN where there is none.
        reasons: why there is none, by the place of the condition.
        facts: what the scan is, name to value, for subpopulations.
        known_by: by what it is known again.
    """

    logit: NDArray[np.float64]
    reasons: dict[int, str]
    facts: dict[str, str]
    known_by: ScanPrint


class Tried(NamedTuple):
    """What a suite found of the scans of a set that could be read."""

    scans: tuple[LabelledScan, ...]
    found: tuple[OneScan, ...]
    dropped: Dropped

    @property
    def logit(self) -> NDArray[np.float64]:
        """(C, S) of each condition and scan."""
        return np.stack([one.logit for one in self.found], axis=1)

    @property
    def prints(self) -> Prints:
        """By which the scans are known again."""
        return _as_prints(self.scans, [one.known_by for one in self.found])


def try_scans(
    suite: Suite, scans: Sequence[LabelledScan], folder: Path | None, progress: Progress
) -> Tried:
    """Put every scan of a set through the suite; a bad one is dropped with its reason.

    Args:
        suite: what is done.
        scans: of the set.
        folder: what is found of each scan is kept there at once, and taken from there when it has
            been found before, of the same file under the same suite; None keeps nothing.
        progress: shows how far it is.

    Raises:
        DataError: when not one scan could be read.
        CovidsslError: when the disk is full.
    """
    found, dropped = read_each(
        scans, lambda scan: _kept_or_tried(suite, scan, folder), "trying scans", progress
    )
    return Tried(tuple(scan for scan, _ in found), tuple(one for _, one in found), dropped)


def try_scan(suite: Suite, scan: LabelledScan) -> OneScan:
    """Put one scan through the suite.

    Raises:
        ScanError: when it cannot be read, or is not of the kind that the model can see.
    """
    key = scan_key(suite.config.seed, scan.name)
    seen = opened(scan)
    altered = under(suite.model, seen, suite.alterations, key)
    if 0 in altered.reasons:
        raise ScanError(altered.reasons[0])  # a scan that the model cannot see as it is
    attacked = [
        attacked_logit(suite.model, seen, scan.positive, attack, key) for attack in suite.attacks
    ]
    return OneScan(
        np.array([*altered.logit, *attacked], dtype=np.float64),
        altered.reasons,
        _facts(seen),
        _print_of(suite.model, seen),
    )


def prints_beside(
    suite: Suite, scans: Sequence[LabelledScan], folder: Path | None, progress: Progress
) -> Prints | None:
    """By what further scans are known again, which are read but not tried.

    None where there are none, or not one of them can be read.

    Args:
        suite: whose model looks at the scans.
        scans: to read.
        folder: as of `try_scans`.
        progress: shows how far it is.

    Raises:
        CovidsslError: when the disk is full.
    """
    if not scans:
        return None

    def read(scan: LabelledScan) -> ScanPrint:
        file = _file_of(suite, scan, folder, "print")
        known = read_kept(file, _print_from_kept) if file else None
        if known is None:
            known = _print_of(suite.model, opened(scan))
            if file:
                write_kept(file, _print_to_keep(known))
        return known

    try:
        found, _ = read_each(scans, read, "reading scans that are not tried", progress)
    except DataError:
        return None
    return _as_prints([scan for scan, _ in found], [one for _, one in found])


def joined(prints: Prints, more: Prints | None) -> Prints:
    """Prints of scans, and of others after them."""
    if more is None:
        return prints
    return Prints(
        prints.names + more.names,
        np.concatenate((prints.hashes, more.hashes)),
        prints.voxels + more.voxels,
        np.concatenate((prints.thumbnails, more.thumbnails)),
    )


def _print_of(model: Model, scan: Opened) -> ScanPrint:
    card = model.card
    return print_of(scan.ct, scan.lungs, card.frame, card.aggregation.most_slices)


def _as_prints(scans: Sequence[LabelledScan], known: Sequence[ScanPrint]) -> Prints:
    return Prints(
        tuple(scan.name for scan in scans),
        np.stack([one.hash for one in known]),
        tuple(one.voxels for one in known),
        np.stack([one.thumbnail for one in known]),
    )


def _facts(scan: Opened) -> dict[str, str]:
    """What a scan is, in words that many scans share."""
    z_mm = scale_of(scan).z
    thickness = "single picture"
    if z_mm is not None:
        known = scan.lungs.spacing_known and scan.ct.spacing_mm is not None
        thickness = "unknown" if not known else "up to 3 mm" if z_mm <= 3 else "above 3 mm"
    return {
        "pixels": scan.ct.pixels.value if scan.ct.pixels else "",
        "distance of slices": thickness,
        "lungs": "found" if scan.lungs.usable else "not found, or odd",
        "millimetres": "reckoned from the lungs" if scale_of(scan).assumed else "from the file",
    }


def _kept_or_tried(suite: Suite, scan: LabelledScan, folder: Path | None) -> OneScan:
    decide = suite.config.model_dump(mode="json", include=_DECIDE)
    file = _file_of(suite, scan, folder, decide, scan.positive)
    one = read_kept(file, _from_kept) if file else None
    if one is None:
        one = try_scan(suite, scan)
        if file and not any(UNEXPECTED in reason for reason in one.reasons.values()):
            write_kept(file, _to_keep(one))
    return one


def _file_of(
    suite: Suite, scan: LabelledScan, folder: Path | None, *made_by: object
) -> Path | None:
    """Where what is found of a scan is kept; None for nowhere."""
    if folder is None:
        return None
    card = suite.model.card
    seen_by = card.model_dump(mode="json", include={"frame", "aggregation"})
    key = key_of([scan], _CACHE, card.files[CLASSIFIER], seen_by, *made_by)
    return folder / f"{key}.safetensors"


def _to_keep(one: OneScan) -> Kept:
    known = _print_to_keep(one.known_by)
    reasons = [[place, text] for place, text in one.reasons.items()]
    return Kept(
        {"logit": one.logit, **known.arrays},
        {"reasons": reasons, "facts": one.facts, **known.notes},
    )


def _from_kept(kept: Kept) -> OneScan:
    arrays, notes = kept
    return OneScan(
        arrays["logit"],
        {int(place): str(text) for place, text in notes["reasons"]},
        dict(notes["facts"]),
        _print_from_kept(kept),
    )


def _print_to_keep(known: ScanPrint) -> Kept:
    arrays: dict[str, NDArray[Any]] = {"hash": known.hash, "thumbnail": known.thumbnail}
    return Kept(arrays, {"voxels": known.voxels})


def _print_from_kept(kept: Kept) -> ScanPrint:
    arrays, notes = kept
    return ScanPrint(arrays["hash"], notes["voxels"], arrays["thumbnail"])
