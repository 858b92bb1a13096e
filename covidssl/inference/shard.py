"""One of the parts that scans are dealt into by their names: each scan stays in its own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from covidssl.errors import UsageError

_WRITTEN = re.compile(r"([1-9]\d{0,4})/([1-9]\d{0,4})")
_FOLDER = re.compile(r"shard-(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1 on) of `of`."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that `i/n` means.

        Raises:
            UsageError: when it means none.
        """
        found = _WRITTEN.fullmatch(text.strip())
        if found is None or int(found[1]) > int(found[2]):
            raise UsageError(f"--shard {text}: expected i/n with i from 1 to n, such as 2/8.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, scan: str) -> bool:
        """Whether a scan of this name is one of the shard's, whatever else there is."""
        digest = hashlib.sha256(f"shard\0{scan}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    def folder(self, out: Path) -> Path:
        """Where its run is written, below the output of all."""
        return out / f"shard-{self.number}-of-{self.of}"


def shards_in(out: Path) -> list[Shard]:
    """The shards whose folders lie in an output, in order."""
    if not out.is_dir():
        return []
    found = [_FOLDER.fullmatch(entry.name) for entry in out.iterdir() if entry.is_dir()]
    shards = [Shard(int(one[1]), int(one[2])) for one in found if one is not None]
    return sorted(shards, key=lambda shard: (shard.of, shard.number))
