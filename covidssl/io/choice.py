"""Which of the DICOM series that share a folder is taken: by stated rules, never silently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidssl.io.eligible import modality_told
from covidssl.io.found import ScanFiles, natural_order
from covidssl.io.series_facts import SeriesFacts, facts_of, flaw_of

_MOST_OFF_AXIAL_DEGREES = 30.0
_ENOUGH_PLACES = 20
_ENOUGH_COVERED = 0.5
_CHEST_MM = 300.0
_AS_THIN_MM = 0.1

Lost = list[tuple[SeriesFacts, str]]


@dataclass(frozen=True)
class Choice:
    """Scans to be read, and those passed over.

    Attributes:
        scans: in the order given.
        passed_over: series that another one of their folder was taken for, each with the reason.
    """

    scans: tuple[ScanFiles, ...]
    passed_over: tuple[tuple[ScanFiles, str], ...]


def choose_series(scans: Sequence[ScanFiles]) -> Choice:
    """Take one series of each patient and study among the DICOM series of one folder.

    The rules, each among those that the earlier ones left: CT; no localiser; axial within 30
    degrees; at least half as long as the longest series (or as 300 mm), and at 20 places where
    another one is; from the scanner and no reformat; without gaps and doubled slices; the thinnest
    slices; a lung kernel; the most slices; the first name. A rule that no series keeps is left out,
    so that one of them is always read, or refused with its own reason. A series is judged by what
    most of nine of its headers say; for gaps all headers are read, where series are left to choose
    among.

    Args:
        scans: from `find_scans`; those of other formats, or alone in their folder, are kept.
    """
    folders: dict[tuple[Path | None, Path], list[ScanFiles]] = defaultdict(list)
    for scan in scans:
        if scan.folder is not None and scan.problem is None:
            folders[scan.archive, scan.paths[0].parent].append(scan)
    reasons: dict[str, str] = {}
    for sharing in folders.values():
        owners: dict[tuple[str, str], list[SeriesFacts]] = defaultdict(list)
        for facts in map(facts_of, sharing):
            owners[facts.owner].append(facts)
        for rivals in owners.values():
            reasons.update(_passed_over(rivals))
    return Choice(
        tuple(scan for scan in scans if scan.name not in reasons),
        tuple((scan, reasons[scan.name]) for scan in scans if scan.name in reasons),
    )


def _passed_over(rivals: Sequence[SeriesFacts]) -> dict[str, str]:
    left = sorted(rivals, key=lambda facts: natural_order(facts.scan.name))
    reasons = {}
    for rule in _RULES:
        lost = rule(left)
        if len(lost) == len(left):
            continue
        reasons.update({facts.scan.name: why for facts, why in lost})
        left = [facts for facts in left if facts.scan.name not in reasons]
    alike = "alike in every rule, and later by name"
    reasons.update({facts.scan.name: alike for facts in left[1:]})
    taken = left[0].scan.name
    return {name: f"passed over for {taken}: {why}" for name, why in reasons.items()}


def _no_ct(left: Sequence[SeriesFacts]) -> Lost:
    return [
        (facts, f"modality {modality_told(facts.kind.modality)}, not CT")
        for facts in left
        if facts.kind.modality != "CT"
    ]


def _localiser(left: Sequence[SeriesFacts]) -> Lost:
    return [(facts, "a localiser (scout)") for facts in left if facts.kind.localiser]


def _off_axial(left: Sequence[SeriesFacts]) -> Lost:
    return [
        (facts, f"its slices lie {facts.off_axial_degrees:.0f} degrees off the axial plane")
        if facts.off_axial_degrees is not None
        else (facts, "its headers do not say how its slices lie")
        for facts in left
        if facts.off_axial_degrees is None or facts.off_axial_degrees > _MOST_OFF_AXIAL_DEGREES
    ]


def _reformat(left: Sequence[SeriesFacts]) -> Lost:
    return [
        (facts, "a reformat (image type DERIVED or SECONDARY), the other is ORIGINAL")
        for facts in left
        if not facts.original
    ]


def _too_short(left: Sequence[SeriesFacts]) -> Lost:
    longest = max((facts.length_mm or 0.0) for facts in left)
    enough = _ENOUGH_COVERED * min(longest, _CHEST_MM)
    long = [facts for facts in left if (facts.length_mm or 0.0) >= enough]
    many = [facts for facts in long if facts.places >= _ENOUGH_PLACES]
    stay = {facts.scan.name for facts in many or long}
    lost = []
    for facts in left:
        if facts.scan.name not in stay:
            count = "1 slice" if facts.slices == 1 else f"{facts.slices} slices"
            over = f" over {facts.length_mm or 0:.0f} of {longest:.0f} mm" if longest else ""
            lost.append((facts, f"only {count}{over}"))
    return lost


def _broken(left: Sequence[SeriesFacts]) -> Lost:
    # Only now, because all headers have to be read.
    flaws = [flaw_of(facts) if len(left) > 1 else "" for facts in left]
    return [(facts, flaw) for facts, flaw in zip(left, flaws, strict=True) if flaw]


def _thicker(left: Sequence[SeriesFacts]) -> Lost:
    known = [facts.thin_mm for facts in left if facts.thin_mm is not None]
    if not known:
        return []
    thinnest = min(known)
    return [
        (facts, "its slice thickness is not known")
        if facts.thin_mm is None
        else (facts, f"its slices are {facts.thin_mm:.3g} mm thick or apart, not {thinnest:.3g}")
        for facts in left
        if facts.thin_mm is None or facts.thin_mm > thinnest + _AS_THIN_MM
    ]


def _soft_kernel(left: Sequence[SeriesFacts]) -> Lost:
    sharp = next((facts.kernel_told for facts in left if facts.lung_kernel), "")
    return [
        (facts, f"kernel {facts.kernel_told} is none for lungs, {sharp} is")
        for facts in left
        if not facts.lung_kernel
    ]


def _fewer(left: Sequence[SeriesFacts]) -> Lost:
    most = max(facts.slices for facts in left)
    return [(facts, f"{facts.slices} slices, not {most}") for facts in left if facts.slices < most]


_RULES: tuple[Callable[[Sequence[SeriesFacts]], Lost], ...] = (
    _no_ct,
    _localiser,
    _off_axial,
    _too_short,
    _reformat,
    _broken,
    _thicker,
    _soft_kernel,
    _fewer,
)
