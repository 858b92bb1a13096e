"""`covidssl download`: what it offers, what it asks, what it fetches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pooch
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from covidssl.cli import app
from covidssl.commands import download
from covidssl.downloads import Patience, PublicSet, RemoteFile, catalogue, choose, find_set, resolve
from covidssl.downloads.public_sets import Record
from covidssl.errors import CovidsslError, DataError, UsageError
from tests.downloads.servers import CONTENT, Behaviour, serving, zip_of

RECORD_PATH = "/api/records/7"
PACKED = zip_of(CONTENT[:4900])


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour(content=PACKED)


@pytest.fixture
def address(behaviour: Behaviour) -> Iterator[str]:
    with serving(behaviour) as at:
        yield at


@pytest.fixture
def record(address: str, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A record of Zenodo, whose interface the server on this machine has."""
    contents = {"a.zip": CONTENT[:4000], "b.zip": CONTENT[:3000]}
    answer = {
        "id": 7,
        "files": [
            {"key": name, "checksum": md5(content), "links": {"self": f"{address}/{name}"}}
            for name, content in contents.items()
        ],
    }
    behaviour.contents = {f"/{name}": content for name, content in contents.items()}
    behaviour.contents[RECORD_PATH] = json.dumps(answer).encode()
    behaviour.kind = "application/octet-stream"
    monkeypatch.setattr(
        pooch.downloaders, "doi_to_url", lambda *_, **__: "https://zenodo.org/records/7"
    )
    api = f"{address}{RECORD_PATH.rpartition('/')[0]}"
    monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", api)
    return Record(doi="10.5281/zenodo.7")


@pytest.fixture
def small(address: str, monkeypatch: pytest.MonkeyPatch) -> PublicSet:
    """A catalogue of one set of two files."""
    one = PublicSet(
        title="A small set",
        licence="CC BY 4.0",
        size="little",
        files=tuple(
            RemoteFile(name=name, url=f"{address}/{name}") for name in ("a.zip", "list.csv")
        ),
        then="Unpack a.zip in place.",
    )
    for place in ("covidssl.downloads.public_sets", "covidssl.commands.download"):
        monkeypatch.setattr(f"{place}.catalogue", lambda: {"small": one})
    return one


def test_a_record_gives_addresses_and_checksums_of_its_files(record: Record, address: str) -> None:
    public = PublicSet(title="A set", licence="CC0", size="little", records=(record,))
    assert resolve(public) == [
        RemoteFile(name="a.zip", url=f"{address}/a.zip", hash=md5(CONTENT[:4000])),
        RemoteFile(name="b.zip", url=f"{address}/b.zip", hash=md5(CONTENT[:3000])),
    ]


def test_a_record_that_lacks_a_file_is_refused_with_what_it_holds(record: Record) -> None:
    wanted = record.model_copy(update={"files": ("a.zip", "c.zip")})
    public = PublicSet(title="A set", licence="CC0", size="little", records=(wanted,))
    with pytest.raises(DataError, match=r"holds no file c\.zip; it holds a\.zip, b\.zip"):
        resolve(public)


def test_a_repository_that_does_not_answer_is_refused_in_words(
    record: Record, behaviour: Behaviour
) -> None:
    behaviour.contents[RECORD_PATH] = b"Bad Gateway"
    public = PublicSet(title="A set", licence="CC0", size="little", records=(record,))
    with pytest.raises(CovidsslError, match=r"10\.5281/zenodo\.7: the repository gave no list"):
        resolve(public)


def test_files_are_chosen_by_name_or_pattern() -> None:
    found = [RemoteFile(name=n, url="https://here/x") for n in ("a.zip", "b.zip", "list.csv")]
    assert [one.name for one in choose(found, ["*.csv", "a.zip"])] == ["a.zip", "list.csv"]
    assert choose(found, []) == found
    with pytest.raises(UsageError, match=r"--file c\.zip: .* there are a\.zip, b\.zip, list\.csv"):
        choose(found, ["c.zip"])


def test_a_set_that_no_command_can_fetch_says_how_to_get_it() -> None:
    with pytest.raises(UsageError, match=r"ricord_1a cannot be .*NBIA.*data/ricord_1a/README\.md"):
        find_set("ricord_1a")


def test_a_misspelt_set_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no set 'covidct'. Did you mean 'covid_ct'"):
        find_set("covidct")


def test_an_entry_is_fetched_or_explained_but_not_both() -> None:
    file = RemoteFile(name="a.zip", url="https://here/a.zip")
    for files, by_hand in (((file,), "Log in."), ((), None)):
        with pytest.raises(ValidationError, match="either files and records, or by_hand"):
            PublicSet(title="A set", licence="CC0", size="little", files=files, by_hand=by_hand)


def test_every_address_is_encrypted_and_every_entry_says_what_comes_next() -> None:
    fetched = {name: one for name, one in catalogue().items() if one.by_command}
    urls = [file.url for one in fetched.values() for file in one.files]
    assert urls
    assert [url for url in urls if not url.startswith("https://")] == []
    assert [name for name, one in fetched.items() if not one.then] == []


def test_without_a_name_all_sets_are_listed() -> None:
    result = CliRunner().invoke(app, ["download"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    first = [line.split()[0] for line in result.output.splitlines()[1:]]
    assert first == list(catalogue())


@pytest.mark.usefixtures("small")
def test_files_sizes_and_licence_are_shown_and_nothing_is_fetched_without_consent(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    result = CliRunner().invoke(app, ["download", "small", "--out", str(tmp_path / "raw")])
    assert isinstance(result.exception, UsageError)
    assert "give --accept-licence" in str(result.exception)
    assert "licence: CC BY 4.0" in result.output
    assert "a.zip  5.0 kB" in result.output
    assert not (tmp_path / "raw").exists()
    assert behaviour.asked == []


@pytest.mark.usefixtures("small")
def test_accepted_files_are_fetched_and_the_next_step_is_said(tmp_path: Path) -> None:
    arguments = ["download", "small", "--out", str(tmp_path / "raw"), "--accept-licence"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["a.zip", "list.csv"]
    assert (tmp_path / "raw" / "a.zip").read_bytes() == PACKED
    assert result.output.splitlines()[-1] == "Unpack a.zip in place."


@pytest.mark.usefixtures("small")
def test_the_length_that_was_offered_is_held_against_what_comes(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    offered = download.offer("small", tmp_path / "raw", ["*.csv"])
    behaviour.says_length, behaviour.ranges, behaviour.drops = False, False, [1000] * 3
    hasty = Patience(attempts=3, wait_seconds=0.0, timeout_seconds=2.0)
    with pytest.raises(CovidsslError, match=rf"ended after 1000 of {len(PACKED)} bytes"):
        download.main(offered, hasty)
    assert not (tmp_path / "raw" / "list.csv").exists()


@pytest.mark.usefixtures("small")
def test_an_empty_file_that_is_there_is_not_taken_for_one_of_the_set(tmp_path: Path) -> None:
    (tmp_path / "list.csv").touch()
    with pytest.raises(UsageError, match=r"is there already .0 bytes. and is not the file"):
        download.main(download.offer("small", tmp_path, ["*.csv"]))


@pytest.mark.usefixtures("small")
def test_one_file_of_a_set_can_be_fetched_alone(tmp_path: Path) -> None:
    offered = download.offer("small", tmp_path / "raw", ["*.csv"])
    assert [path.name for path in download.main(offered)] == ["list.csv"]


@pytest.mark.usefixtures("small")
def test_files_go_to_the_raw_folder_of_the_set_unless_told_otherwise() -> None:
    assert download.offer("small", None).folder == Path("data/small/raw")


@pytest.mark.usefixtures("small")
def test_a_disk_that_is_too_small_stops_the_whole_before_the_first_byte(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    offered = download.offer("small", tmp_path / "raw")
    object.__setattr__(offered, "sizes", {"a.zip": 10**18, "list.csv": None})
    with pytest.raises(CovidsslError, match="GB are free"):
        download.main(offered)
    assert behaviour.asked == []


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "size not said"), (999, "999 bytes"), (1500, "1.5 kB"), (66_000_000_000, "66.0 GB")],
)
def test_a_size_is_written_to_be_read(size: int | None, text: str) -> None:
    assert download.in_bytes(size) == text
