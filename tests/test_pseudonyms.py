"""Pseudonyms are the same for the same identifier and key, and lead nowhere without the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from covidssl.errors import DataError
from covidssl.pseudonyms import Pseudonyms, key_beside

KEY, OTHER = bytes(range(32)), bytes(32)


def test_same_identifier_and_key_give_the_same_pseudonym() -> None:
    assert Pseudonyms(KEY).of("patient", "p1") == Pseudonyms(KEY).of("patient", "p1")


def test_another_key_identifier_or_kind_gives_another_one() -> None:
    ids = Pseudonyms(KEY)
    given = {
        ids.of("patient", "p1"), ids.of("patient", "p2"), ids.of("series", "p1"),
        Pseudonyms(OTHER).of("patient", "p1"), ids.of("path", "p1"),
    }  # fmt: skip
    assert len(given) == 5


def test_pseudonym_is_a_keyed_hash_and_no_plain_one() -> None:
    made = hmac.new(KEY, b"patient\0p1", hashlib.sha256).hexdigest()
    given = Pseudonyms(KEY).of("patient", "p1")
    assert given == made[:16]
    assert given not in hashlib.sha256(b"patient\0p1").hexdigest()


def test_no_identifier_has_no_pseudonym() -> None:
    assert Pseudonyms(KEY).of("patient", "") == ""


def test_kept_identifiers_are_of_headers_and_paths_stay_hidden() -> None:
    ids = Pseudonyms(KEY, keep_ids=True)
    assert (ids.of("patient", "p1"), ids.of("series", "1.2")) == ("p1", "1.2")
    assert ids.of("path", "p1/a.nii") == Pseudonyms(KEY).of("path", "p1/a.nii")


def test_names_that_are_no_text_have_pseudonyms_too() -> None:
    assert len(Pseudonyms(KEY).of("path", os.fsdecode(b"scan\xff.nii"))) == 16


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    first, second = Pseudonyms.from_file(path), Pseudonyms.from_file(path)
    assert first == second
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]
    assert len({Pseudonyms.from_file(tmp_path / str(n)).key for n in range(3)}) == 3


def test_many_that_ask_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = {ids.key for ids in pool.map(Pseudonyms.from_file, [tmp_path / "key"] * 64)}
    assert len(keys) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.skipif(os.name != "posix", reason="rights of a file are POSIX")
@pytest.mark.parametrize("rights", [0o644, 0o640, 0o602])
def test_key_that_others_may_read_is_refused(rights: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    Pseudonyms.from_file(path)
    path.chmod(rights)
    with pytest.raises(DataError, match=r"^key: others than its owner .*chmod 600"):
        Pseudonyms.from_file(path)


@pytest.mark.parametrize("content", [b"", b"ab" * 31, b"no key", b"\xff" * 64, b"ab" * 33])
def test_file_that_holds_no_key_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(DataError, match="holds no key of 32 bytes"):
        Pseudonyms.from_file(path)
    assert path.read_bytes() == content


def test_key_is_not_shown_when_pseudonyms_are_printed() -> None:
    assert KEY.hex() not in repr(Pseudonyms(KEY))
    assert repr(KEY) not in repr(Pseudonyms(KEY))


def test_key_of_a_run_lies_beside_its_folder_and_never_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert key_beside(tmp_path / "stores" / "ours") == tmp_path / "stores" / "ours.ids-key"
    monkeypatch.chdir(tmp_path)
    assert key_beside(Path()).parent == tmp_path.parent
