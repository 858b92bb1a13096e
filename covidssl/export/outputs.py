"""Where an export is written: only what an export wrote is replaced, and only when it is asked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from covidssl.errors import UsageError
from covidssl.files import write_json
from covidssl.model import PAGE

Format = Literal["onnx", "pt2", "monai-bundle", "timm", "card"]

FOLDERS: tuple[Format, ...] = ("monai-bundle", "timm")
CONTENTS = "export.json"
"""Lists the files of an exported folder; a folder without it is not replaced."""

_FORMAT = "covidssl-export-folder-1"


def make_way(source: Path, to: Format, out: Path, overwrite: bool) -> None:
    """See that an export may be written to `out`; deletes nothing.

    Args:
        source: the model or encoder that is exported.
        to: the format.
        out: the file or folder to write.
        overwrite: whether what is there may be replaced.

    Raises:
        UsageError: for an output that exists, lies below a file or inside the model, is of the
            other kind (file or folder), or is a folder with anything that export did not write.
    """
    written = _written(to, out)
    must_be_under_folders(out)
    for file in written:
        _must_be_outside(source, to, file)
        if not (file.exists() or file.is_symlink()):
            continue
        if not overwrite:
            raise UsageError(f"{file}: exists already. Use --overwrite, or another --out.")
        if file.is_dir() != (to in FOLDERS):
            kind = "folder" if to in FOLDERS else "file"
            raise UsageError(f"{file}: {to} is written as a {kind}. Give another --out.")
    if to in FOLDERS and out.exists():
        _must_be_of_export(out)


def beside(path: Path) -> Path:
    """The JSON file beside an exported graph."""
    return path.with_name(f"{path.name}.json")


def must_be_under_folders(out: Path) -> None:
    """Refuse an output whose path leads through a file.

    Raises:
        UsageError: that names the file.
    """
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"{out}: {above} is a file, no folder. Give another --out.")


@contextmanager
def whole_folder(out: Path, to: Format) -> Iterator[Path]:
    """A folder to fill; it gets its name, in the place of one that is there, when all is well.

    The one that was there is deleted last. A list of the files is written into the new one.
    """
    part, old = (out.with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    part.mkdir(parents=True)
    try:
        yield part
        files = sorted(_entries(part))
        write_json(part / CONTENTS, {"format": _FORMAT, "written": to, "files": files})
        if out.exists():
            out.rename(old)
        try:
            part.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _written(to: Format, out: Path) -> tuple[Path, ...]:
    return (out, beside(out)) if to in ("onnx", "pt2") else (out,)


def _must_be_outside(source: Path, to: Format, file: Path) -> None:
    if to == "card" and file.name == PAGE:
        return
    if source.is_dir():
        inside = file.resolve().is_relative_to(source.resolve())
    else:
        inside = file.resolve().with_suffix("") == source.resolve().with_suffix("")
    if inside:
        raise UsageError(
            f"{file}: lies inside the model that is exported ({source}), where only {PAGE} can be "
            f"written again. Give an --out outside of it."
        )


def _must_be_of_export(out: Path) -> None:
    """Refuse a folder that holds anything but what an export has listed in it."""
    try:
        said = json.loads((out / CONTENTS).read_text(encoding="utf-8"))
        listed = set(said["files"]) if said["format"] == _FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        listed = None
    if listed is None or out.is_symlink():
        raise UsageError(
            f"{out}: is no folder that export has made (it has no {CONTENTS} of export); give "
            f"another --out."
        )
    others = sorted({one.split("/")[0] for one in _entries(out) - listed - {CONTENTS}})
    if others:
        raise UsageError(
            f"{out}: holds what export did not write, and --overwrite would delete it: "
            f"something in {', '.join(others[:3])}. Move it away, or give another --out."
        )


def _entries(folder: Path) -> set[str]:
    """All files, links and empty folders below a folder, by their path in it."""
    found = set()
    for here, folders, files in os.walk(folder):
        for name in (*files, *(name for name in folders if Path(here, name).is_symlink())):
            found.add(Path(here, name).relative_to(folder).as_posix())
        if not folders and not files and Path(here) != folder:
            found.add(Path(here).relative_to(folder).as_posix())
    return found
