"""One file arrives whole and right over a bad line, or not under its name."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pooch
import pytest

from covidssl.downloads import (
    Patience,
    RemoteFile,
    ResumingDownloader,
    fetch,
    left_to_fetch,
    refuse_full_disk,
    size_at,
)
from covidssl.errors import CovidsslError, DataError, UsageError
from tests.downloads.servers import CONTENT, Behaviour, serving, zip_of

RIGHT = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
HASTY = Patience(attempts=3, wait_seconds=0.0, timeout_seconds=2.0)


def fetch_from(
    behaviour: Behaviour, folder: Path, known_hash: str | None = RIGHT, size: int | None = None
) -> Path:
    with serving(behaviour) as address:
        file = RemoteFile(name="set.zip", url=f"{address}/set.zip", hash=known_hash, size=size)
        return fetch(file, folder, patience=HASTY)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def start_of(asked: str | None) -> int:
    return 0 if asked is None else int(asked.removeprefix("bytes=").removesuffix("-"))


def test_a_good_server_gives_the_file_in_one_go(tmp_path: Path) -> None:
    behaviour = Behaviour()
    path = fetch_from(behaviour, tmp_path / "raw")
    assert path.read_bytes() == CONTENT
    assert behaviour.asked == [None]
    assert names_in(tmp_path / "raw") == {"set.zip"}


def test_a_line_that_drops_three_times_costs_only_what_was_lost(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[300_000, 200_000, 100_000])
    path = fetch_from(behaviour, tmp_path)
    assert path.read_bytes() == CONTENT
    starts = [start_of(asked) for asked in behaviour.asked]
    assert len(starts) == 4
    # A chunk of 64 KiB that had not come whole is asked for again, no more.
    for start, sent in zip(starts[1:], (300_000, 500_000, 600_000), strict=True):
        assert sent - 3 * 65_536 < start <= sent
    assert names_in(tmp_path) == {"set.zip"}


def test_an_attempt_that_brings_bytes_is_no_failure(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[100_000] * 8)  # more drops than failures in a row are borne
    assert fetch_from(behaviour, tmp_path).read_bytes() == CONTENT


def test_the_next_run_goes_on_with_what_an_earlier_one_has_left(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[400_000], statuses=[])
    with serving(behaviour) as address:
        file = RemoteFile(name="set.zip", url=f"{address}/set.zip", hash=RIGHT)
        impatient = Patience(attempts=1, wait_seconds=0, timeout_seconds=2)
        behaviour.drops = [400_000, 0, 0]
        with pytest.raises(CovidsslError, match=r"set\.zip: .*bytes are kept: run again to go on"):
            fetch(file, tmp_path, patience=impatient)
        assert names_in(tmp_path) == {".set.zip.part", ".set.zip.part.json"}
        kept = (tmp_path / ".set.zip.part").stat().st_size
        assert kept > 300_000
        behaviour.drops, behaviour.asked = [], []
        assert fetch(file, tmp_path, patience=HASTY).read_bytes() == CONTENT
    assert behaviour.asked == [f"bytes={kept}-"]
    assert names_in(tmp_path) == {"set.zip"}


def test_a_run_that_is_killed_leaves_no_file_and_the_next_one_goes_on(tmp_path: Path) -> None:
    behaviour = Behaviour(silent_seconds=0.1)
    with serving(behaviour) as address:
        url = f"{address}/set.zip"
        code = (
            "from pathlib import Path; from covidssl.downloads import RemoteFile, fetch; "
            f"fetch(RemoteFile(name='set.zip', url={url!r}), Path({str(tmp_path)!r}))"
        )
        process = subprocess.Popen([sys.executable, "-c", code])
        partial = tmp_path / ".set.zip.part"
        try:
            until = time.monotonic() + 60
            while not (partial.exists() and partial.stat().st_size > 200_000):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        assert not (tmp_path / "set.zip").exists()
        behaviour.silent_seconds = 0.0
        path = fetch(RemoteFile(name="set.zip", url=url, hash=RIGHT), tmp_path, patience=HASTY)
    assert path.read_bytes() == CONTENT
    assert start_of(behaviour.asked[-1]) >= 200_000


def test_a_server_that_gives_no_parts_is_asked_for_the_whole_again(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[300_000], ranges=False)
    assert fetch_from(behaviour, tmp_path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 2


def test_a_server_that_gives_no_parts_and_always_drops_is_given_up(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[300_000] * 9, ranges=False)
    with pytest.raises(CovidsslError, match="given up after 3 in a row"):
        fetch_from(behaviour, tmp_path)
    assert not (tmp_path / "set.zip").exists()


def test_halves_of_two_versions_of_a_file_are_never_joined(tmp_path: Path) -> None:
    new = zip_of(CONTENT[::-1])
    with serving(Behaviour()) as address:
        url = f"{address}/set.zip"
        (tmp_path / ".set.zip.part").write_bytes(CONTENT[:400_000])
        (tmp_path / ".set.zip.part.json").write_text(f'{{"url": "{url}", "etag": "\\"old\\""}}')
        right = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        path = fetch(RemoteFile(name="set.zip", url=url, hash=right), tmp_path, patience=HASTY)
        assert path.read_bytes() == CONTENT
    behaviour = Behaviour(content=new, etag='"two"')
    (tmp_path / ".new.zip.part").write_bytes(CONTENT[:400_000])
    with serving(behaviour) as address:
        url = f"{address}/new.zip"
        (tmp_path / ".new.zip.part.json").write_text(f'{{"url": "{url}", "etag": "\\"one\\""}}')
        path = fetch(RemoteFile(name="new.zip", url=url), tmp_path, patience=HASTY)
    assert path.read_bytes() == new
    assert behaviour.asked == ["bytes=400000-"]


JANUARY, FEBRUARY = "Mon, 01 Jan 2024 00:00:00 GMT", "Thu, 01 Feb 2024 00:00:00 GMT"


def resumed(first: Behaviour, then: Behaviour, folder: Path, name: str = "set.bin") -> bytes:
    """What is fetched, without a checksum, when a server changes after its first, torn answer."""
    first.drops = [300_000]
    with serving(first) as address:
        file = RemoteFile(name=name, url=f"{address}/{name}")
        once = Patience(attempts=1, wait_seconds=0, timeout_seconds=2)
        with pytest.raises(CovidsslError, match="run again to go on"):
            fetch(file, folder, patience=once)
        vars(first).update(vars(then))
        return fetch(file, folder, patience=HASTY).read_bytes()


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize(
    ("version", "changed"),
    [
        ({"etag": 'W/"one"', "modified": JANUARY}, {"etag": 'W/"two"', "modified": FEBRUARY}),
        ({"etag": "", "modified": JANUARY}, {"etag": "", "modified": FEBRUARY}),
        ({"etag": '"one"'}, {"etag": '"two"'}),
        ({"etag": 'W/"one"'}, {"etag": 'W/"two"'}),
        ({"etag": ""}, {"etag": ""}),
    ],
)
def test_a_file_that_changed_between_two_runs_is_fetched_anew(
    version: dict[str, str], changed: dict[str, str], heeds_if_range: bool, tmp_path: Path
) -> None:
    new = CONTENT[::-1]
    first = Behaviour(heeds_if_range=heeds_if_range, **version)  # type: ignore[arg-type]
    then = Behaviour(content=new, heeds_if_range=heeds_if_range, **changed)  # type: ignore[arg-type]
    assert resumed(first, then, tmp_path) == new


def test_a_date_is_enough_to_go_on_with_a_part(tmp_path: Path) -> None:
    behaviour = Behaviour(etag='W/"one"', modified=JANUARY, drops=[300_000])
    assert fetch_from(behaviour, tmp_path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 2
    assert start_of(behaviour.asked[1]) > 0


def test_a_file_that_grew_under_the_same_date_is_fetched_anew(tmp_path: Path) -> None:
    longer = CONTENT[::-1] + b"more"
    then = Behaviour(content=longer, etag="", modified=JANUARY)
    assert resumed(Behaviour(etag="", modified=JANUARY), then, tmp_path) == longer


def test_an_answer_without_a_length_that_is_cut_off_is_no_file(tmp_path: Path) -> None:
    behaviour = Behaviour(says_length=False, ranges=False, drops=[300_000] * 9)
    with pytest.raises(CovidsslError, match="the connection ended after .* of 1000000 bytes"):
        fetch_from(behaviour, tmp_path, known_hash=None, size=len(CONTENT))
    assert not (tmp_path / "set.zip").exists()


def test_a_zip_without_a_checksum_that_is_cut_off_is_kept_aside(tmp_path: Path) -> None:
    behaviour = Behaviour(content=zip_of(CONTENT), says_length=False, drops=[300_000])
    with pytest.raises(DataError, match=r"set\.zip: it is no whole zip file\. It is kept as set"):
        fetch_from(behaviour, tmp_path, known_hash=None)
    assert names_in(tmp_path) == {"set.zip.rejected"}


def test_a_zip_without_a_checksum_of_which_a_byte_is_wrong_is_kept_aside(tmp_path: Path) -> None:
    damaged = bytearray(zip_of(CONTENT))
    damaged[500_000] ^= 1
    with pytest.raises(DataError, match=r"its member member\.bin is damaged"):
        fetch_from(Behaviour(content=bytes(damaged)), tmp_path, known_hash=None)
    assert names_in(tmp_path) == {"set.zip.rejected"}
    whole = fetch_from(Behaviour(content=zip_of(CONTENT)), tmp_path, known_hash=None)
    assert whole.read_bytes() == zip_of(CONTENT)


@pytest.mark.parametrize("there", [b"", zip_of(CONTENT)[:900_000]])
def test_what_is_there_and_is_no_whole_zip_is_not_taken_for_the_set(
    tmp_path: Path, there: bytes
) -> None:
    (tmp_path / "set.zip").write_bytes(there)
    with pytest.raises(UsageError, match="is there already .* and is not the file"):
        fetch_from(Behaviour(), tmp_path, known_hash=None)
    assert (tmp_path / "set.zip").read_bytes() == there


def test_a_part_of_another_address_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / ".set.zip.part").write_bytes(b"x" * 1000)
    (tmp_path / ".set.zip.part.json").write_text('{"url": "http://elsewhere/set.zip", "etag": ""}')
    behaviour = Behaviour()
    assert fetch_from(behaviour, tmp_path).read_bytes() == CONTENT
    assert behaviour.asked == [None]


@pytest.mark.parametrize("extra", [0, 5000])
def test_a_part_that_is_whole_or_too_long_ends_well(tmp_path: Path, extra: int) -> None:
    behaviour = Behaviour()
    with serving(behaviour) as address:
        url = f"{address}/set.zip"
        (tmp_path / ".set.zip.part").write_bytes(CONTENT + b"x" * extra)
        (tmp_path / ".set.zip.part.json").write_text(f'{{"url": "{url}", "etag": "\\"one\\""}}')
        path = fetch(RemoteFile(name="set.zip", url=url, hash=RIGHT), tmp_path, patience=HASTY)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_that_is_not_there_is_refused_at_once(tmp_path: Path, status: int) -> None:
    behaviour = Behaviour(statuses=[status])
    with pytest.raises(DataError, match=rf"set\.zip: the server answers {status}"):
        fetch_from(behaviour, tmp_path)
    assert len(behaviour.asked) == 1
    assert names_in(tmp_path) == set()


def test_a_server_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    behaviour = Behaviour(statuses=[500, 503])
    assert fetch_from(behaviour, tmp_path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 3


def test_a_server_that_stays_broken_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(CovidsslError, match="the server answers 500 .*given up after 3 in a row"):
        fetch_from(Behaviour(statuses=[500] * 9), tmp_path)


def test_no_server_at_all_is_given_up_in_words(tmp_path: Path) -> None:
    with serving(Behaviour()) as address:
        pass
    file = RemoteFile(name="set.zip", url=f"{address}/set.zip")
    with pytest.raises(CovidsslError, match="the connection failed .* given up after 3 in a row"):
        fetch(file, tmp_path, patience=HASTY)


def test_a_length_that_was_promised_and_does_not_come_is_no_file(tmp_path: Path) -> None:
    behaviour = Behaviour(length=len(CONTENT) + 100)
    with pytest.raises(CovidsslError, match="given up"):
        fetch_from(behaviour, tmp_path, known_hash=None)
    assert not (tmp_path / "set.zip").exists()


def test_another_length_than_published_is_refused_before_a_byte_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"offers 1000000 bytes, expected 999999\. The file has"):
        fetch_from(Behaviour(), tmp_path, size=999_999)
    assert names_in(tmp_path) == set()


def test_a_wrong_checksum_keeps_the_file_aside_and_the_next_run_begins_anew(
    tmp_path: Path,
) -> None:
    behaviour = Behaviour(content=CONTENT[:-1] + b"!")
    with pytest.raises(DataError, match=r"its checksum is not the published one .*set\.zip\.rej"):
        fetch_from(behaviour, tmp_path)
    assert names_in(tmp_path) == {"set.zip.rejected"}
    assert fetch_from(Behaviour(), tmp_path).read_bytes() == CONTENT


def test_a_web_page_in_the_stead_of_a_file_is_refused(tmp_path: Path) -> None:
    page = Behaviour(content=b"<html>Log in</html>", kind="text/html; charset=utf-8")
    with pytest.raises(DataError, match="sends a web page in its stead.* needs a login"):
        fetch_from(page, tmp_path, known_hash=None)
    assert names_in(tmp_path) == set()


def test_a_slow_server_is_waited_for_as_long_as_bytes_come(tmp_path: Path) -> None:
    behaviour = Behaviour(content=CONTENT[:200_000], silent_seconds=0.2)
    known = f"sha256:{hashlib.sha256(CONTENT[:200_000]).hexdigest()}"
    assert fetch_from(behaviour, tmp_path, known).stat().st_size == 200_000
    assert len(behaviour.asked) == 1


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with serving(Behaviour(silent_seconds=1.0)) as address:
        file = RemoteFile(name="set.zip", url=f"{address}/set.zip")
        once = Patience(attempts=1, wait_seconds=0, timeout_seconds=0.2)
        with pytest.raises(CovidsslError, match="the connection failed"):
            fetch(file, tmp_path, patience=once)


def test_a_file_that_has_moved_elsewhere_is_followed(tmp_path: Path) -> None:
    with serving(Behaviour()) as elsewhere:
        behaviour = Behaviour(moved_to=f"{elsewhere}/real.zip")
        assert fetch_from(behaviour, tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_in_circles_is_refused(tmp_path: Path) -> None:
    behaviour = Behaviour()
    with serving(behaviour) as address:
        behaviour.moved_to = f"{address}/again"
        file = RemoteFile(name="set.zip", url=f"{address}/set.zip")
        with pytest.raises(DataError, match=r"cannot be fetched \(TooManyRedirects\)"):
            fetch(file, tmp_path, patience=HASTY)


class Answer(NamedTuple):
    """What an answer says, as `requests` gives it."""

    url: str
    status_code: int = 200
    reason: str = "OK"


def test_a_way_from_encryption_to_none_is_refused() -> None:
    from covidssl.downloads.resuming import refuse_answer

    answer = Answer("http://elsewhere/set.zip")
    with pytest.raises(DataError, match="without encryption; refused"):
        refuse_answer(answer, "https://here/set.zip", "set.zip")  # type: ignore[arg-type]


def test_a_file_that_is_there_already_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(CONTENT)
    behaviour = Behaviour()
    assert fetch_from(behaviour, tmp_path) == tmp_path / "set.zip"
    assert behaviour.asked == []


@pytest.mark.parametrize(("known", "size"), [(RIGHT, None), (None, 1_000_000)])
def test_another_file_of_that_name_is_never_replaced(
    tmp_path: Path, known: str | None, size: int | None
) -> None:
    (tmp_path / "set.zip").write_bytes(b"somebody's own")
    with pytest.raises(UsageError, match="is there already .14 bytes. and is not the file"):
        fetch_from(Behaviour(), tmp_path, known, size)
    assert (tmp_path / "set.zip").read_bytes() == b"somebody's own"


def test_progress_tells_bytes_and_total_and_never_goes_back_on_a_good_line(
    tmp_path: Path,
) -> None:
    told: list[tuple[int, int | None]] = []
    with serving(Behaviour(drops=[500_000])) as address:
        file = RemoteFile(name="set.zip", url=f"{address}/set.zip", hash=RIGHT)
        fetch(file, tmp_path, lambda done, total: told.append((done, total)), HASTY)
    assert {total for _, total in told} == {len(CONTENT)}
    done = [count for count, _ in told]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)


def test_pooch_takes_the_downloader_as_one_of_its_own(tmp_path: Path) -> None:
    behaviour = Behaviour(drops=[300_000])
    with serving(behaviour) as address:
        downloader = ResumingDownloader(tmp_path / ".set.zip.part", patience=HASTY)
        path = pooch.retrieve(
            f"{address}/set.zip", RIGHT, "set.zip", tmp_path / "cache", downloader=downloader
        )
    assert Path(path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 2


def test_the_size_is_asked_for_without_fetching() -> None:
    behaviour = Behaviour()
    with serving(behaviour) as address:
        assert size_at(f"{address}/set.zip") == len(CONTENT)
    assert size_at(f"{address}/set.zip", HASTY) is None
    assert behaviour.asked == []


def test_what_is_still_to_come_is_counted_without_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "here.zip").write_bytes(b"x")
    (tmp_path / ".half.zip.part").write_bytes(b"x" * 400)
    sizes = {"here.zip": 10, "half.zip": 1000, "all.zip": 2000, "unknown.zip": None}
    assert left_to_fetch(sizes, tmp_path) == 2600


def test_a_disk_that_cannot_hold_the_files_is_refused_before_they_come(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    refuse_full_disk(1000, tmp_path / "not" / "yet" / "there")
    with pytest.raises(CovidsslError, match=r"GB are to come, but only .* GB are free"):
        refuse_full_disk(2 * free, tmp_path / "not" / "yet" / "there")


def test_a_disk_that_fills_up_keeps_what_has_come(tmp_path: Path) -> None:
    with serving(Behaviour()) as address:
        url = f"{address}/set.zip"
        code = (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
            "from pathlib import Path; from covidssl.downloads import RemoteFile, fetch; "
            f"fetch(RemoteFile(name='set.zip', url={url!r}), Path({str(tmp_path)!r}))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        last = done.stderr.decode().splitlines()[-1]
        assert "CovidsslError: set.zip: the disk is full. 300000 bytes are kept" in last
        file = RemoteFile(name="set.zip", url=url, hash=RIGHT)
        assert fetch(file, tmp_path, patience=HASTY).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../set.zip", "a/b.zip", ".hidden", ""])
def test_a_name_that_leads_out_of_the_folder_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        RemoteFile(name=name, url="https://here/set.zip")
