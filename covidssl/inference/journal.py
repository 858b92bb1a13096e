"""What became of every scan, a line each, so that a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from covidssl.answers import Answer, Outcome
from covidssl.errors import NoRoomError
from covidssl.files import is_full, write_bytes
from covidssl.io import ScanFiles
from covidssl.pseudonyms import Pseudonyms

NAME = "journal.jsonl"
SCANS, ASIDE = "scans", "aside"
FOLDERS = (SCANS, ASIDE, "maps", "dicom", "pictures", "strips")
"""Where files of scans lie, by their stems."""
ANSWERED = (Outcome.OK, Outcome.WARNED)


@dataclass(frozen=True)
class Entry:
    """A line of the journal.

    Attributes:
        scan: its name.
        stamp: of its files and their place (`stamp_of`), as they were when it was read.
        outcome: what became of it.
        codes: of its reasons.
        seconds: that it took, without what it waited.
        sha256: of the file with its answer.
    """

    scan: str
    stamp: str
    outcome: Outcome
    codes: tuple[str, ...]
    seconds: float
    sha256: str

    def line(self) -> bytes:
        """The entry as the journal holds it."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"


def stamp_of(scan: ScanFiles, ids: Pseudonyms | None = None) -> str:
    """SHA-256 of a scan's files and of where they lie: another one means another scan.

    Of scans with one name, one size and one time the place alone tells which is which.

    Args:
        scan: its files.
        ids: hide the place of a scan whose name is hidden, too: it could be guessed otherwise.
    """
    place = scan.place()
    if scan.hidden and ids is not None:
        place = ids.of("place", place)
    return hashlib.sha256(f"{scan.stamp()}\0{place}".encode(errors="surrogateescape")).hexdigest()


def stem_of(scan: str) -> str:
    """What a scan's files are called by: a hash, since a name may be a path."""
    return hashlib.sha256(scan.encode()).hexdigest()[:16]


def answer_path(scan: str) -> str:
    """The file with a scan's answer, as a path below the output."""
    return f"{SCANS}/{stem_of(scan)}.json"


def write_answer(out: Path, answer: Answer) -> str:
    """Write the JSON file of a scan; gives the SHA-256 of it."""
    content = answer.model_dump_json(indent=1).encode() + b"\n"
    write_bytes(out / answer_path(answer.scan), content)
    return hashlib.sha256(content).hexdigest()


def set_aside(out: Path, scans: Collection[str]) -> None:
    """Let `scans/` hold answers of these scans alone; others wait in `aside/` for their INPUT."""
    wanted = {f"{stem_of(scan)}.json" for scan in scans}
    here, aside = out / SCANS, out / ASIDE
    if here.is_dir():
        for path in here.glob("*.json"):
            if path.name not in wanted:
                aside.mkdir(exist_ok=True)
                path.replace(aside / path.name)
    if aside.is_dir():
        for path in aside.glob("*.json"):
            if path.name in wanted and not (here / path.name).exists():
                path.replace(here / path.name)


def forget(out: Path, scan: str) -> None:
    """Take away what was written for a scan before: its answer first, then the products of it."""
    path = out / answer_path(scan)
    files: Collection[str] = ()
    with suppress(OSError, ValueError):  # there may be none, or a damaged one
        files = read_answer(out, scan).files.values()
    path.unlink(missing_ok=True)
    for file in files:
        # A damaged answer may name anything: nothing is deleted but what a run calls so.
        folder, _, name = file.partition("/")
        if folder.isalnum() and "/" not in name and name.startswith(stem_of(scan)):
            (out / file).unlink(missing_ok=True)


def read_answer(out: Path, scan: str) -> Answer:
    """The answer that was written for a scan."""
    return Answer.model_validate_json((out / answer_path(scan)).read_bytes())


def read_journal(out: Path) -> dict[str, Entry]:
    """The last entry of every scan; a line torn by a kill is passed over."""
    try:
        content = (out / NAME).read_bytes()
    except OSError:
        return {}
    entries: dict[str, Entry] = {}
    for line in content.split(b"\n")[:-1]:
        try:
            read = json.loads(line)
            entry = Entry(**{**read, "outcome": Outcome(read["outcome"])})
            entries[entry.scan] = Entry(**{**asdict(entry), "codes": tuple(entry.codes)})
        except (ValueError, TypeError, KeyError):
            continue
    return entries


def is_whole(out: Path, entry: Entry) -> bool:
    """Whether the answer of an entry is there as it was written, and all its products are."""
    try:
        content = (out / answer_path(entry.scan)).read_bytes()
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            return False
        return all((out / path).is_file() for path in json.loads(content)["files"].values())
    except (OSError, ValueError, KeyError):
        return False


def done_before(
    out: Path, stamps: Mapping[str, str], retry_failed: bool = False
) -> dict[str, Entry]:
    """Entries that need not be made again: the scan's files are the same, its answer is whole.

    A scan whose maps or strips were deleted is answered again.

    Args:
        out: the output.
        stamps: of the scans that are there now, by name.
        retry_failed: leave those out that failed.
    """
    return {
        name: entry
        for name, entry in read_journal(out).items()
        if stamps.get(name) == entry.stamp
        and not (retry_failed and entry.outcome is Outcome.FAILED)
        and is_whole(out, entry)
    }


class Journal:
    """The journal of a run, open to be added to."""

    def __init__(self, out: Path, before: Iterable[Entry]) -> None:
        self._path = out / NAME
        # Written anew, since its last line may be torn.
        write_bytes(self._path, b"".join(entry.line() for entry in before))
        self._file: BinaryIO = self._path.open("ab")

    def add(self, entry: Entry) -> None:
        """Write down what became of a scan, once its answer is written.

        Raises:
            NoRoomError: when the disk is full.
        """
        try:
            self._file.write(entry.line())
            self._file.flush()
        except OSError as error:
            if not is_full(error):
                raise
            raise NoRoomError(
                f"{NAME}: the disk is full ({error.strerror}). Free some space, and go on with "
                f"--resume: the last scan is answered again."
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        # What could not be written when it was added cannot be now; that was told already.
        with suppress(OSError):
            self._file.close()
