"""Every refusal of covidssl, as one family, so that a caller can catch it by one name."""

from __future__ import annotations

import traceback
from pathlib import Path

from covidssl.legible import legible

_PLACES = 8


class CovidsslError(Exception):
    """Base of all refusals: says what was wrong, what was expected, what to do, and which file."""

    def __init__(self, text: str = "") -> None:
        # It may quote a file's name, and is shown in a terminal.
        super().__init__(legible(text, lines=True))


class UsageError(CovidsslError):
    """The command or configuration is wrong: an unknown key, an output that exists (exit 2)."""


class BusyError(UsageError):
    """Another process works in the folder: what is asked for can be had when that one has ended."""


class ScanError(CovidsslError):
    """One scan cannot be used; the others can.

    Attributes:
        code: what was found, as one word for tables: `gantry_tilt`, `missing_slices`, ...; the
            codes are listed in docs/formats.md and docs/inference.md.
    """

    def __init__(self, text: str, code: str = "unreadable") -> None:
        super().__init__(legible(text))
        self.code = code

    def __reduce__(self) -> tuple[type[ScanError], tuple[str, str]]:
        # Without it the code would be lost on the way from a worker process.
        return type(self), (str(self), self.code)


class DataError(CovidsslError):
    """A dataset, split or store cannot be used as it stands."""


class WeightsError(CovidsslError):
    """Weights and card do not fit each other or the network, or the file is no safetensors."""


class TrainingError(CovidsslError):
    """Training cannot go on: a loss that is not finite, checkpoints that cannot be read."""


class NoRoomError(CovidsslError):
    """A disk, a quota or the size limit of a file is full; what was whole before still is."""


class StoppedError(CovidsslError):
    """A run was asked by a signal to stop, and has kept its state.

    Attributes:
        code: 128 and the signal's number, as a shell would say it.
    """

    def __init__(self, text: str, signal: int) -> None:
        super().__init__(text)
        self.code = 128 + signal


class EndedElsewhereError(CovidsslError):
    """Another of several processes has ended the run, and says why."""


def traced(error: BaseException) -> str:
    """What kind an unforeseen exception is and where it came from, for a log.

    Its text is left out, since it may quote a header or an absolute path.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    places = ", from ".join(
        f"{Path(frame.filename).stem}.{frame.name} line {frame.lineno}"
        for frame in reversed(frames)
    )
    return f"{type(error).__name__} in {places or 'nowhere'}"
