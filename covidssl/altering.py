"""What a model says of scans that were altered on purpose, each scan read once.

An alteration takes a scan and its lungs and gives another scan: outside of the lungs blanked, noise
of a lower dose, thicker slices. The model sees it as it would see a scan from a file: lungs,
frames, scores, one logit. An alteration that does not apply to a scan says so and gives no logit:
the clean one in its place would look like robustness.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from covidssl.datasets import LabelledScan
from covidssl.diagnosis import scores_of
from covidssl.errors import CovidsslError, ScanError, traced
from covidssl.io import read_scan
from covidssl.lungs import Lungs, segment_lungs
from covidssl.model import Model
from covidssl.scan_frames import ScanFrames, frames_of_scan
from covidssl.volume import Volume

log = logging.getLogger(__name__)

_STREAM = 161
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

Key = tuple[int, ...]
"""Of `covidssl.randomness`: an alteration that draws adds a number of its own to it."""


class DoesNotApplyError(ScanError):
    """This alteration means nothing for this scan; the text says why."""


class Alteration(Protocol):
    """One way to alter a scan, and how much.

    Attributes:
        name: of the alteration and how much, for tables.
        finds_lungs_again: whether the lungs are found on the altered scan, as for a scan from a
            file; else those of the scan itself are taken, and the grid must stay the same.
    """

    @property
    def name(self) -> str: ...

    @property
    def finds_lungs_again(self) -> bool: ...

    def __call__(self, ct: Volume, lungs: Lungs, key: Key, /) -> Volume:
        """Another scan; `ct` stays as it is, and the same key gives the same draws.

        Raises:
            DoesNotApplyError: when it means nothing for this scan.
            ScanError: when it cannot be done.
        """
        ...


@dataclass(frozen=True)
class Unaltered:
    """The scan as it is, to be told apart from its alterations."""

    name: str = "clean"
    finds_lungs_again: bool = False

    def __call__(self, ct: Volume, _lungs: Lungs, _key: Key, /) -> Volume:
        """The scan itself."""
        return ct


class OneAltered(NamedTuple):
    """What a model says of one scan under alterations.

    Attributes:
        logit: (A,) of each alteration; NaN where there is none.
        reasons: why there is none, by the place of the alteration, in plain words.
    """

    logit: NDArray[np.float64]
    reasons: dict[int, str]


class Opened(NamedTuple):
    """A scan that was read, and its lungs."""

    ct: Volume
    lungs: Lungs


def opened(scan: LabelledScan) -> Opened:
    """Read one scan and find its lungs.

    Raises:
        ScanError: when it cannot be read.
    """
    ct = read_scan(scan.files)
    return Opened(ct, segment_lungs(ct))


def under(model: Model, scan: Opened, alterations: Sequence[Alteration], key: Key) -> OneAltered:
    """Logits of one scan under alterations; what fails is NaN with its reason, and stops nothing.

    Args:
        model: the classifier, on its device.
        scan: read once, its lungs found once.
        alterations: in their order.
        key: of all draws, see `scan_key`.

    Raises:
        CovidsslError: when the disk is full.
    """
    logit = np.full(len(alterations), np.nan)
    reasons: dict[int, str] = {}
    for place, alteration in enumerate(alterations):
        try:
            logit[place] = logit_of(model, altered(scan, alteration, key))
        except ScanError as error:
            reasons[place] = str(error)
        except CovidsslError:
            raise
        except Exception as error:  # not foreseen, but no reason to lose the other alterations
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                raise
            log.error("%s: %s: %s", scan.ct.source, alteration.name, traced(error))
            reasons[place] = f"unexpected {type(error).__name__}"
    return OneAltered(logit, reasons)


def altered(scan: Opened, alteration: Alteration, key: Key) -> Opened:
    """One scan under one alteration, with the lungs that go with it.

    Raises:
        DoesNotApplyError: when the alteration means nothing for this scan.
        ScanError: when it cannot be done, or changed the grid under lungs that are kept.
    """
    ct = alteration(scan.ct, scan.lungs, key)
    if alteration.finds_lungs_again:
        return Opened(ct, segment_lungs(ct))
    if ct.array.shape != scan.ct.array.shape:
        raise ScanError(
            f"{ct.source}: {alteration.name} gave a scan of shape {ct.array.shape}, and the lungs "
            f"that are kept have {scan.ct.array.shape}. Such an alteration must find them again."
        )
    return Opened(ct, scan.lungs)


def cut(model: Model, scan: Opened) -> ScanFrames:
    """What the model looks at of a scan.

    Raises:
        ScanError: when the scan is not of the kind that the model can see.
    """
    card = model.card
    return frames_of_scan(scan.ct, scan.lungs, card.frame, card.aggregation.most_slices)


def logit_of(model: Model, scan: Opened) -> float:
    """The model's logit of a scan, by its aggregation rule.

    Raises:
        ScanError: when the scan is not of the kind that the model can see.
    """
    scores = scores_of(model.classifier, cut(model, scan).frames, model.device)
    return model.card.aggregation.of(*scores)


def scan_key(seed: int, name: str) -> Key:
    """Of the draws for one scan: it changes with the seed and the scan's name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return seed, _STREAM, int.from_bytes(digest[:8], "big")
