"""`covidssl pack`: a prepared store in, its slices cut to frames in one file out."""

from __future__ import annotations

import logging
from pathlib import Path

from covidssl.counting import counted
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PackConfig
from covidssl.pack import SUFFIX, Packing, parts_beside, remove_leftovers, write_pack
from covidssl.progress import track
from covidssl.store import Store

log = logging.getLogger(__name__)


def main(
    config: PackConfig,
    address: Path | str,
    out: Path,
    split_mib: float | None = None,
    overwrite: bool = False,
    partial: bool = False,
) -> tuple[Path, ...]:
    """Pack a store; gives the files written.

    Args:
        config: how slices are cut and kept; the store's kind of pixel is taken unless it says one.
        address: of the store: a folder, or such as `s3://bucket/store`.
        out: the file, named `.safetensors`; parts are called after it.
        split_mib: MiB that a part may have; None for one file.
        overwrite: replace a pack of that name.
        partial: take what is whole of an unfinished store.

    Raises:
        CovidsslError: when the name is another, the file exists, the frame is a volume, or the
            disk is full.
    """
    if out.suffix != SUFFIX:
        raise UsageError(f"--out {out.name}: a pack is called '{SUFFIX}': {out.stem}{SUFFIX}")
    if config.frame.depth is not None:
        raise UsageError(
            f"frame.depth={config.frame.depth}: a pack holds slices. Leave it out, or train on "
            f"volumes from the prepared store itself."
        )
    there = [path for path in (out, *parts_beside(out)) if path.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0].name}: exists already. Use --overwrite, or another --out.")
    store = Store.open(address, partial)
    frame = config.frame
    if "pixels" not in frame.model_fields_set:
        frame = frame.model_copy(update={"pixels": store.pixels})
    if store.slices.kinds() != (frame.pixels,):
        store = store.of_kind(frame.pixels)
    if not len(store.slices):
        raise DataError(store.why_empty())
    most = None if split_mib is None else int(split_mib * 2**20)
    remove_leftovers(out)
    written = write_pack(store, out, Packing(frame, config.bits, most))
    files = tuple(track(written, "packing", len(store.slices)))
    # Only now: until the new pack is whole, what is left of the old one is not to be lost.
    for old in set(there) - set(files):
        old.unlink()
    held, parts = counted(len(store.slices), "slice"), counted(len(files), "file")
    log.info("%s in %s", held, parts)
    return files
