"""The shards of one output as one: every scan from the one shard that it is dealt to."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from covidssl.errors import UsageError
from covidssl.files import replacing
from covidssl.inference.books import remove_leftovers
from covidssl.inference.journal import (
    FOLDERS,
    SCANS,
    Entry,
    answer_path,
    done_before,
    forget,
    read_answer,
    stem_of,
)
from covidssl.inference.shard import Shard, shards_in
from covidssl.inference.sources import Sought

_STEM = re.compile(r"[0-9a-f]{16}(?=[-.])")


def check_room(out: Path, shard: Shard | None) -> None:
    """Refuse to write a run without shards among shards, or one of other shards.

    Raises:
        UsageError: when the output was begun otherwise.
    """
    there = shards_in(out)
    if shard is None and there:
        raise UsageError(
            f"{out}: holds {len(there)} of {there[0].of} shards. Finish them with --shard, make "
            f"one table of them with --join, or choose another --out."
        )
    if shard is not None and not there and (out / SCANS).is_dir():
        raise UsageError(f"{out}: holds a run without shards; choose another --out.")
    others = sorted({one.of for one in there} - {shard.of if shard else 0})
    if shard is not None and others:
        raise UsageError(
            f"{out}: was begun with {others[0]} shards, not {shard.of}. Give the same number, or "
            f"choose another --out."
        )


def shards_of(out: Path) -> list[Shard]:
    """All shards of an output.

    Raises:
        UsageError: when one is missing, or they are of several numbers.
    """
    there = shards_in(out)
    if not there:
        raise UsageError(f"{out}: holds no shard; run the parts with --shard 1/n to n/n first.")
    count = there[0].of
    whole = [Shard(number, count) for number in range(1, count + 1)]
    if there != whole:
        lacking = [f"{one.number}/{count}" for one in whole if one not in there]
        raise UsageError(
            f"{out}: lacks shards {', '.join(lacking[:5]) or 'of one number'}. Run them with "
            f"--shard, each with the same INPUTs."
        )
    return there


def entries_of_shards(out: Path, sought: Sought) -> list[Entry]:
    """The entries of all scans, in their order; nothing is changed.

    Raises:
        UsageError: when a shard has not answered a scan, or not as its files are now.
    """
    stamps = sought.stamps()
    entries: dict[str, Entry] = {}
    for shard in shards_of(out):
        own = [scan.name for scan in sought.scans if shard.holds(scan.name)]
        entries |= _entries(shard, shard.folder(out), {name: stamps[name] for name in own})
    return [entries[scan.name] for scan in sought.scans]


def link_shards(out: Path, scans: Collection[str]) -> None:
    """Let every scan's answer and products stand below the output itself, as without shards.

    They are links to the shards' files, or copies where the file system knows no links. What an
    earlier join left there of other scans, or of these as they were, goes: the shards have it.

    Args:
        out: the output of all shards.
        scans: names of all scans, which the shards have answered.
    """
    shards = shards_of(out)
    remove_leftovers(out)
    _remove_others(out, scans)
    for scan in scans:
        (shard,) = [one for one in shards if one.holds(scan)]
        folder = shard.folder(out)
        paths = [*read_answer(folder, scan).files.values(), answer_path(scan)]
        if not all(_is_linked(folder / path, out / path) for path in paths):
            forget(out, scan)
            # The answer last, as everywhere.
            for path in paths:
                _link(folder / path, out / path)


def _remove_others(out: Path, scans: Collection[str]) -> None:
    """Take away what a join wrote of scans that are not among these."""
    wanted = {stem_of(scan) for scan in scans}
    folders = [out / name for name in FOLDERS]
    for folder in folders:
        if not folder.is_dir() or folder.is_symlink():
            continue
        for path in folder.iterdir():
            stem = _STEM.match(path.name)
            if stem is not None and stem[0] not in wanted:
                path.unlink()


def _is_linked(source: Path, target: Path) -> bool:
    try:
        return target.samefile(source)
    except OSError:
        return False


def _link(source: Path, target: Path) -> None:
    """Let `target` be the same file, or a copy where the file system knows no links."""
    with replacing(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _entries(shard: Shard, folder: Path, own: Mapping[str, str]) -> dict[str, Entry]:
    entries = done_before(folder, own)
    lacking = [name for name in own if name not in entries]
    if lacking:
        raise UsageError(
            f"{folder.name}: {len(lacking)} of its {len(own)} scans are not answered, or were "
            f"changed since; first: '{lacking[0]}'. Go on with --shard {shard.number}/{shard.of} "
            f"--resume, with the same INPUTs."
        )
    return entries
