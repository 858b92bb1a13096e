"""The public sets that `data/` describes, and where their files lie.

`sets.yaml` beside this module names each set once: its licence, and either the files that can be
had without a login or, in words, how to get them by hand. Where a repository with a DOI (Zenodo,
figshare) holds the files, their addresses and checksums are asked of it at run time through pooch.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import PurePosixPath
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from covidssl.errors import CovidsslError, DataError, UsageError
from covidssl.yaml_text import read_yaml

_TIMEOUT_SECONDS = 60


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RemoteFile(_Entry):
    """One file to fetch.

    Attributes:
        name: what it is called in the folder; no path.
        url: where it lies.
        size: its bytes, where they are published.
        hash: `algorithm:hexadecimal`, where a checksum is published.
    """

    name: str = Field(pattern=r"^[^/\\.][^/\\]*$")
    url: str = Field(pattern=r"^https?://")
    size: int | None = Field(None, ge=0)
    hash: str | None = Field(None, pattern=r"^(md5|sha1|sha256|sha512):[0-9a-f]{32,128}$")


class Record(_Entry):
    """A record of a repository that pooch knows.

    Attributes:
        doi: its DOI.
        files: names of the files wanted; empty: all of them.
    """

    doi: str = Field(pattern=r"^10\.\d{4,}/\S+$")
    files: tuple[str, ...] = ()


class PublicSet(_Entry):
    """One public set.

    Attributes:
        title: what it is, in a few words.
        licence: its licence, or that none is stated.
        size: how large it is, in words; the servers say it to the byte.
        files: files with addresses of their own.
        records: records with DOIs.
        by_hand: how to get it, for a set that no command can fetch.
        then: what to do with the files.
    """

    title: str = Field(min_length=3)
    licence: str = Field(min_length=3)
    size: str = Field(min_length=3)
    files: tuple[RemoteFile, ...] = ()
    records: tuple[Record, ...] = ()
    by_hand: str | None = None
    then: str = ""

    @property
    def by_command(self) -> bool:
        """Whether `covidssl download` fetches it."""
        return self.by_hand is None

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.by_command != bool(self.files or self.records):
            raise ValueError("give either files and records, or by_hand")
        return self


@cache
def catalogue() -> dict[str, PublicSet]:
    """All sets by name, as in `data/`, in the order of `sets.yaml`."""
    with as_file(files("covidssl.downloads") / "sets.yaml") as path:
        return TypeAdapter(dict[str, PublicSet]).validate_python(read_yaml(path))


def find_set(name: str) -> PublicSet:
    """The set called `name`.

    Raises:
        UsageError: for an unknown name, with the nearest; for a set that must be fetched by hand,
            with the way.
    """
    known = catalogue()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "`covidssl download` lists them."
        raise UsageError(f"There is no set '{name}'. {hint}")
    if not known[name].by_command:
        raise UsageError(
            f"{name} cannot be fetched by command. {known[name].by_hand} "
            f"Its card, data/{name}/README.md, says where the files go."
        )
    return known[name]


def resolve(public: PublicSet) -> list[RemoteFile]:
    """All files of a set, with the addresses and checksums that its records give now.

    Raises:
        CovidsslError: when a repository does not answer.
        DataError: when a record lacks a file.
    """
    found = list(public.files)
    for record in public.records:
        found += _files_of(record)
    return found


def choose(found: Sequence[RemoteFile], patterns: Sequence[str]) -> list[RemoteFile]:
    """The files whose names match one of `patterns` (such as `subset0.zip` or `*.csv`).

    Raises:
        UsageError: when a pattern matches none.
    """
    if not patterns:
        return list(found)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(one.name, pattern) for one in found):
            names = ", ".join(one.name for one in found)
            raise UsageError(f"--file {pattern}: no file is called so; there are {names}.")
    return [one for one in found if any(fnmatch.fnmatchcase(one.name, p) for p in patterns)]


def _files_of(record: Record) -> list[RemoteFile]:
    import pooch
    import requests
    from pooch.downloaders import doi_to_repository

    store = pooch.create(path=".", base_url=f"doi:{record.doi}")
    try:
        repository = doi_to_repository(record.doi, timeout=_TIMEOUT_SECONDS)
        repository.populate_registry(store)
        names = record.files or tuple(store.registry)
        lacking = [name for name in names if name not in store.registry]
        if lacking:
            raise DataError(
                f"doi {record.doi}: the record holds no file {', '.join(lacking)}; it holds "
                f"{', '.join(store.registry)}. It may have changed: look at it."
            )
        return [
            RemoteFile(
                name=PurePosixPath(name).name,
                url=repository.download_url(name),
                hash=store.registry[name],
            )
            for name in names
        ]
    except (requests.RequestException, ValueError, KeyError, IndexError) as error:
        raise CovidsslError(
            f"doi {record.doi}: the repository gave no list of its files "
            f"({type(error).__name__}). Is the network there? Run again later, or fetch the files "
            f"by hand from https://doi.org/{record.doi}."
        ) from error
