"""The corruptions of the suite: what each one means, in which unit, how much, by whose model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from covidssl.altering import Key, Opened
from covidssl.lungs import Lungs
from covidssl.robustness.grey import (
    compressed,
    narrowed_window,
    scaled_hu,
    shifted_hu,
    shifted_level,
)
from covidssl.robustness.metal import metal
from covidssl.robustness.moving import breathing, moved, narrower
from covidssl.robustness.noise import lower_dose
from covidssl.robustness.sharpness import sharper, smoother, thicker
from covidssl.volume import Volume

SEVERITIES = 5


class Kind(NamedTuple):
    """One kind of corruption.

    Attributes:
        words: for people.
        unit: of the amounts.
        amounts: of the five severities, the mildest first.
        apply: takes a scan, an amount and a key.
        model: what it is reckoned by, and whose model that is.
    """

    words: str
    unit: str
    amounts: tuple[float, float, float, float, float]
    apply: Callable[[Opened, float, Key], Volume]
    model: str


KINDS: dict[str, Kind] = {
    "dose_noise": Kind(
        "lower dose",
        "share of the dose",
        (0.5, 0.25, 0.12, 0.06, 0.03),
        lower_dose,
        "noise of 15 HU at full dose in slices of 5 mm, variance with 1/(dose x thickness) (Brooks "
        "and Di Chiro 1976), spectrum of filtered back projection (Riederer, Pelc and Chesler "
        "1978), of which pixels show what is below their own limit",
    ),
    "blur": Kind(
        "smoother kernel",
        "mm FWHM",
        (1.0, 1.5, 2.0, 3.0, 4.0),
        smoother,
        "Gaussian in the slice",
    ),
    "sharpen": Kind(
        "sharper kernel",
        "gain of the MTF at 0.5/mm",
        (1.25, 1.5, 2.0, 3.0, 4.0),
        sharper,
        "unsharp masking with a Gaussian of 1.5 mm FWHM",
    ),
    "slice_thickness": Kind(
        "thicker slices",
        "mm",
        (3.0, 5.0, 7.5, 10.0, 15.0),
        thicker,
        "mean over a box along the body, slices as far apart as they are thick",
    ),
    "hu_up": Kind(
        "HU too high", "HU", (10.0, 20.0, 40.0, 80.0, 160.0), shifted_hu, "a constant is added"
    ),
    "hu_down": Kind(
        "HU too low",
        "HU",
        (-10.0, -20.0, -40.0, -80.0, -160.0),
        shifted_hu,
        "a constant is taken away",
    ),
    "hu_scale": Kind(
        "HU too close to water",
        "factor",
        (0.98, 0.95, 0.90, 0.85, 0.80),
        scaled_hu,
        "all HU times a factor, water stays at 0",
    ),
    "level_up": Kind(
        "window level too high",
        "grey levels",
        (8.0, 16.0, 32.0, 48.0, 64.0),
        shifted_level,
        "grey values of 0..255 moved and clipped",
    ),
    "level_down": Kind(
        "window level too low",
        "grey levels",
        (-8.0, -16.0, -32.0, -48.0, -64.0),
        shifted_level,
        "grey values of 0..255 moved and clipped",
    ),
    "window_width": Kind(
        "window too narrow",
        "share of the width",
        (0.9, 0.8, 0.7, 0.6, 0.5),
        narrowed_window,
        "grey values spread about their middle and clipped",
    ),
    "field_of_view": Kind(
        "smaller field of view",
        "share of the mm",
        (0.95, 0.9, 0.8, 0.7, 0.6),
        narrower,
        "cropped about the centre, pixels as large as before",
    ),
    "motion": Kind(
        "motion in the slice",
        "mm",
        (1.0, 2.0, 4.0, 7.0, 10.0),
        moved,
        "mean over a straight path in a direction drawn for the scan",
    ),
    "breathing": Kind(
        "breathing",
        "mm at the diaphragm",
        (3.0, 6.0, 10.0, 15.0, 20.0),
        breathing,
        "mean of two phases, doubled most at the diaphragm and not at the apex",
    ),
    "metal": Kind(
        "metal",
        "mm of each of two rods",
        (1.0, 2.0, 3.0, 5.0, 8.0),
        metal,
        "beam hardening (120 kV in three parts) and photon starvation of two steel rods, "
        "projected back (De Man et al. 1999)",
    ),
    "jpeg": Kind(
        "JPEG",
        "quality",
        (80.0, 60.0, 40.0, 20.0, 10.0),
        compressed,
        "written and read again by Pillow",
    ),
}


CHANGE_THE_GRID = ("slice_thickness", "field_of_view")


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption at one severity; an alteration of `covidssl.altering`.

    Attributes:
        kind: of `KINDS`.
        severity: 1 to 5.
        finds_lungs_again: whoever reads such a scan has no other one to find its lungs on.
    """

    kind: str
    severity: int
    finds_lungs_again: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no corruption '{self.kind}'; there are {', '.join(KINDS)}")
        if not 1 <= self.severity <= SEVERITIES:
            raise ValueError(f"severity {self.severity}: expected 1 to {SEVERITIES}")

    @property
    def name(self) -> str:
        """Kind and severity."""
        return f"{self.kind} {self.severity}"

    @property
    def amount(self) -> float:
        """In the unit of its kind."""
        return KINDS[self.kind].amounts[self.severity - 1]

    def __call__(self, ct: Volume, lungs: Lungs, key: Key, /) -> Volume:
        """The corrupted scan.

        Raises:
            DoesNotApplyError: when this kind means nothing for this scan.
        """
        return KINDS[self.kind].apply(Opened(ct, lungs), self.amount, key)


def corruptions(
    kinds: Sequence[str], severities: Sequence[int], lungs_again: bool = True
) -> list[Corruption]:
    """All of these kinds at all of these severities.

    Args:
        kinds: of `KINDS`.
        severities: of each.
        lungs_again: whether lungs are found on each corrupted scan; where not, those of the clean
            one are kept, but for kinds that change the grid.
    """
    return [
        Corruption(kind, severity, lungs_again or kind in CHANGE_THE_GRID)
        for kind in kinds
        for severity in severities
    ]
