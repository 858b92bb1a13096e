"""How a scan is to be read: what its values mean, what may be mended, who may be named."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from covidssl.hounsfield import Pixels
from covidssl.pseudonyms import Pseudonyms


class Policy(StrEnum):
    """What to do with a scan whose geometry or values are wrong."""

    STRICT = "strict"
    """Nothing is mended; `prepare` reads all scans, and then ends as failed."""
    REPAIR = "repair"
    """What can be mended is mended, and said; the rest is left out."""
    SKIP = "skip"
    """Nothing is mended; the scan is left out."""


@dataclass(frozen=True)
class Reading:
    """How a scan is read.

    Attributes:
        pixels: overrides the format's rule on what the values mean.
        policy: whether defects are mended.
        ids: gives pseudonyms of the header's patient and series; None: they are not read.
    """

    pixels: Pixels | None = None
    policy: Policy = Policy.SKIP
    ids: Pseudonyms | None = None

    @property
    def repairs(self) -> bool:
        """Whether what is wrong may be mended."""
        return self.policy is Policy.REPAIR
