"""One scan at a time: read and looked at, answered, written; in whatever process or machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from covidssl.answers import Answer, Outcome, Reason
from covidssl.errors import CovidsslError, NoRoomError, ScanError, traced
from covidssl.files import is_full
from covidssl.inference.journal import Entry, forget, stamp_of, stem_of, write_answer
from covidssl.io import Reading, ScanFiles, read_scan
from covidssl.lesion_model import load_answering
from covidssl.maps.writing import write_maps
from covidssl.prediction import Answered, AnswerPlan, Predictor, Prepared
from covidssl.prediction import refused as refused_scan
from covidssl.prediction.outcomes import outcome_of
from covidssl.strips import write_strip
from covidssl.training import make_fabric

UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class Job:
    """What every scan is answered with; it can be sent to another process.

    Attributes:
        out: folder that products are written to.
        models: model folders or runs; several are an ensemble. Where the network in the box is
            asked, its folder.
        plan: how scans are answered.
        reading: how they are read.
        device: where the networks run: auto, cpu or cuda.
        dicom: whether maps are written as DICOM, too.
    """

    out: Path
    models: tuple[Path, ...]
    plan: AnswerPlan = AnswerPlan()
    reading: Reading = Reading()
    device: str = "auto"
    dicom: bool = False

    def predictor(self) -> Predictor:
        """The models, loaded.

        Raises:
            WeightsError: when one cannot be.
        """
        device = make_fabric(self.device, "32-true").device
        return Predictor([load_answering(path).to(device) for path in self.models], self.plan)


@dataclass(frozen=True)
class Looked:
    """A scan that was read and looked at, or why it was not.

    Attributes:
        scan: its files.
        stamp: of them, as they were when it was read.
        found: what the networks are asked about, or the answer that says why there is none.
        seconds: that it took.
        trace: for the log, of what nobody foresaw.
    """

    scan: ScanFiles
    stamp: str
    found: Prepared | Answer
    seconds: float
    trace: str = ""


@dataclass(frozen=True)
class Written:
    """What became of a scan, for the journal and for the log.

    Attributes:
        entry: for the journal.
        text: why it is not simply `ok`.
        trace: of what nobody foresaw; empty where all was.
    """

    entry: Entry
    text: str = ""
    trace: str = ""


def look(scan: ScanFiles, predictor: Predictor, reading: Reading) -> Looked:
    """Read a scan, find its lungs and cut its frames; no network.

    Raises:
        CovidsslError: for what is wrong with more than this scan.
    """
    began, stamp = time.perf_counter(), stamp_of(scan, reading.ids)
    found: Prepared | Answer
    trace = ""
    try:
        found = predictor.prepare(read_scan(scan, reading))
    except Exception as error:
        found, trace = refused(scan.name, error)
    return Looked(scan, stamp, found, time.perf_counter() - began, trace)


def look_elsewhere(scan: ScanFiles, job: Job) -> Looked:
    """Likewise, in a process that may not have the models yet."""
    return look(scan, _preparer(job.models, job.plan), job.reading)


@lru_cache(maxsize=1)
def _preparer(models: tuple[Path, ...], plan: AnswerPlan) -> Predictor:
    # No network is asked here: nothing is put on a device, no graph is made.
    return Predictor([load_answering(path) for path in models], plan.model_copy(update=_PLAIN))


_PLAIN = {"backend": "torch"}


def said_of(looked: Looked, predictor: Predictor) -> tuple[Answered | Answer, float, str]:
    """What the networks say; the seconds that they took, and a trace for the log.

    Raises:
        CovidsslError: for what is wrong with more than this scan.
    """
    if isinstance(looked.found, Answer):
        return looked.found, 0.0, looked.trace
    began = time.perf_counter()
    said: Answered | Answer
    trace = ""
    try:
        said = predictor.answer(looked.found)
    except Exception as error:
        said, trace = refused(looked.scan.name, error)
    return said, time.perf_counter() - began, trace


def write(job: Job, looked: Looked, said: Answered | Answer, spent: float, trace: str) -> Written:
    """Write all products of a scan, its answer last.

    Raises:
        CovidsslError: when the disk is full.
    """
    began = time.perf_counter()
    forget(job.out, looked.scan.name)
    answer = said if isinstance(said, Answer) else said.answer
    if not isinstance(said, Answer):
        try:
            answer = _with_files(job, looked.scan, said)
        except Exception as error:
            answer, trace = refused(looked.scan.name, error)
    seconds = looked.seconds + spent + time.perf_counter() - began
    sha256 = write_answer(job.out, answer)
    codes = tuple(dict.fromkeys(reason.code for reason in answer.reasons))
    entry = Entry(looked.scan.name, looked.stamp, answer.outcome, codes, round(seconds, 3), sha256)
    return Written(entry, "; ".join(reason.text for reason in answer.reasons), trace)


def refused(scan: str, error: Exception) -> tuple[Answer, str]:
    """The answer for a scan over which an error came, and a trace where nobody foresaw it.

    Its text may hold anything of the file, where it came from does not.

    Raises:
        CovidsslError: the error itself, where it is not of this scan alone.
    """
    if isinstance(error, ScanError):
        text = str(error).removeprefix(f"{scan}: ")
        return refused_scan(scan, ScanError(text, error.code)), ""
    if isinstance(error, CovidsslError):
        raise error
    if isinstance(error, OSError) and is_full(error):
        raise NoRoomError(
            f"The disk is full ({error.strerror}). Free some space, and go on with --resume."
        ) from error
    text = f"unexpected {type(error).__name__}; log.txt says where"
    return _failed(scan, UNEXPECTED, text), traced(error)


def _failed(scan: str, code: str, text: str) -> Answer:
    reason = Reason(code=code, text=text)
    return Answer(scan=scan, outcome=Outcome.FAILED, reasons=(reason,))


def ended(scan: ScanFiles, job: Job, code: str, text: str) -> Looked:
    """What is known of a scan over which its process was ended."""
    return Looked(scan, stamp_of(scan, job.reading.ids), _failed(scan.name, code, text), 0.0)


def _with_files(job: Job, scan: ScanFiles, said: Answered) -> Answer:
    """Write all but the answer, which then says what was written and what could not be."""
    stem, answer = stem_of(scan.name), said.answer
    maps = write_maps(job.out, stem, said, scan, job.dicom)
    told: dict[str, object] = {"files": maps.paths | write_strip(job.out, stem, said)}
    if maps.reasons:
        told["reasons"] = (*answer.reasons, *maps.reasons)
        told["outcome"] = outcome_of((*answer.reasons, *maps.reasons), job.plan.force)
    return answer.model_copy(update=told)


def with_absolute_paths(job: Job) -> Job:
    """The job as another process understands it, whatever folder it works in."""
    models: Sequence[Path] = [path.absolute() for path in job.models]
    return replace(job, out=job.out.absolute(), models=tuple(models))
