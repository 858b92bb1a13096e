"""What a scan is on its way to an answer: prepared on a CPU, then answered by the networks."""

from __future__ import annotations

from dataclasses import dataclass

from covidssl.answers import Answer, Reason
from covidssl.lungs import Lungs
from covidssl.maps import ScanMaps
from covidssl.scan_frames import ScanFrames
from covidssl.volume import Volume


@dataclass(frozen=True)
class Prepared:
    """A scan that was read and looked at, before any network.

    Attributes:
        ct: the scan, upright.
        lungs: of it.
        cut: what the classifier will see; None where nothing can be shown to it.
        reasons: to warn or to abstain, found so far.
        abstains: whether one of them means that no answer is given.
    """

    ct: Volume
    lungs: Lungs
    cut: ScanFrames | None
    reasons: tuple[Reason, ...] = ()
    abstains: bool = False


@dataclass(frozen=True)
class Answered:
    """A scan with what is said of it.

    Attributes:
        prepared: as it was looked at.
        answer: without the files of its products, which are not written yet.
        maps: None where the model abstains, or none were asked for.
    """

    prepared: Prepared
    answer: Answer
    maps: ScanMaps | None = None
