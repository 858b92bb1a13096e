"""Names for patients, series and paths that tell who they are only to the holder of a key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from covidssl.errors import DataError

_KEY_BYTES = 32
_HEX = 16
_OTHERS = 0o077  # rights of the group and of everybody
_OF_HEADERS = ("patient", "series")


@dataclass(frozen=True)
class Pseudonyms:
    """Salted hashes of identifiers: equal for equal ones, and no way back without the key.

    Attributes:
        key: the salt; whoever has it can try identifiers until one fits, so keep it apart.
        keep_ids: give the identifiers of headers themselves instead; paths are hashed all the
            same where that is asked for.
    """

    key: bytes = field(repr=False)
    keep_ids: bool = False

    def of(self, kind: str, identifier: str) -> str:
        """Pseudonym of an identifier (HMAC-SHA256, 16 hexadecimal digits); empty for an empty one.

        Args:
            kind: `patient`, `series`, `path`: the same text gets another pseudonym in each.
            identifier: of the header, or a path.
        """
        if not identifier or (self.keep_ids and kind in _OF_HEADERS):
            return identifier
        text = f"{kind}\0{identifier}".encode("utf-8", "surrogateescape")
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()[:_HEX]

    @classmethod
    def from_file(cls, path: Path, keep_ids: bool = False) -> Pseudonyms:
        """The key in a file, made (readable by its owner alone) where there is none.

        Several processes may ask for a key that is not there yet: all get the same one.

        Raises:
            DataError: when the file holds no key, or others than its owner may read it.
        """
        if not path.exists():
            _make_key(path)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & _OTHERS:
            raise DataError(
                f"{path.name}: others than its owner may read this key, and with it test guesses "
                f"at identifiers. Run `chmod 600` on it, or keep it where that has an effect."
            )
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise DataError(
                f"{path.name}: holds no key of {_KEY_BYTES} bytes as hexadecimal text. Give the "
                f"file that an earlier run wrote, or name a new one."
            )
        return cls(key, keep_ids)


def key_beside(out: Path) -> Path:
    """Where the key of a run lies unless another place is named: beside its folder, never in it."""
    whole = out.resolve()
    return whole.with_name(f"{whole.name}.ids-key")


def _make_key(path: Path) -> None:
    """Write a new key under a temporary name and link it to `path`, unless another was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link never takes the place of a key that others use already.
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
