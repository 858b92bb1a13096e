"""The shards of one output as one: every scan from the one shard that it is dealt to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from covidssl.errors import UsageError
from covidssl.files import replacing
from covidssl.inference.journal import SCANS, Entry, answer_path, done_before, read_answer
from covidssl.inference.shard import Shard, shards_in
from covidssl.inference.sources import Sought
from covidssl.io import ScanFiles


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


def join_shards(out: Path, sought: Sought) -> list[Entry]:
    """Let every scan's answer and products stand below the output itself, as without shards.

    They are links to the shards' files, or copies where the file system knows no links.

    Returns:
        The entries of all scans, in their order.

    Raises:
        UsageError: when a shard has not answered a scan, or not as its files are now.
    """
    shards = shards_of(out)
    entries: dict[str, Entry] = {}
    for shard in shards:
        own = [scan for scan in sought.scans if shard.holds(scan.name)]
        entries |= _entries(shard, shard.folder(out), own)
    joined = []
    for scan in sought.scans:
        (shard,) = [one for one in shards if one.holds(scan.name)]
        folder = shard.folder(out)
        for path in read_answer(folder, scan.name).files.values():
            _link(folder / path, out / path)
        # The answer last, as everywhere.
        _link(folder / answer_path(scan.name), out / answer_path(scan.name))
        joined.append(entries[scan.name])
    return joined


def _link(source: Path, target: Path) -> None:
    """Let `target` be the same file, or a copy where the file system knows no links."""
    with replacing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _entries(shard: Shard, folder: Path, own: list[ScanFiles]) -> dict[str, Entry]:
    entries = done_before(folder, {scan.name: scan.stamp() for scan in own})
    lacking = [scan.name for scan in own if scan.name not in entries]
    if lacking:
        raise UsageError(
            f"{folder.name}: {len(lacking)} of its {len(own)} scans are not answered, or were "
            f"changed since; first: '{lacking[0]}'. Go on with --shard {shard.number}/{shard.of} "
            f"--resume, with the same INPUTs."
        )
    return entries
