"""Public sets fetched over the network: which there are, and one file whole or not at all."""

from covidssl.downloads.fetching import fetch, left_to_fetch, refuse_full_disk
from covidssl.downloads.public_sets import (
    PublicSet,
    RemoteFile,
    catalogue,
    choose,
    find_set,
    resolve,
)
from covidssl.downloads.resuming import Patience, ResumingDownloader, size_at

__all__ = [
    "Patience",
    "PublicSet",
    "RemoteFile",
    "ResumingDownloader",
    "catalogue",
    "choose",
    "fetch",
    "find_set",
    "left_to_fetch",
    "refuse_full_disk",
    "resolve",
    "size_at",
]
