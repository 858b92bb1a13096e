"""The run folder: what every verb writes beside its products, so that a number can be followed."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel

from covidssl.config import changed_keys, dump_config, load_config
from covidssl.errors import NoRoomError, StoppedError, UsageError
from covidssl.files import write_json, write_text
from covidssl.folder_lock import alone_in
from covidssl.version import __version__

log = logging.getLogger(__name__)

IfExists = Literal["refuse", "resume", "overwrite"]

FREE = (
    "checkpoint_every",
    "pictures_every",
    "training.workers",
    "training.keep_checkpoints",
    "training.checkpoint_minutes",
)
"""Keys that a resume may change: no weight and no number that comes out depends on them."""

_LOCK = ".run.lock"
_PACKAGE = Path(__file__).resolve().parent
_PACKAGES = (
    "torch",
    "lightning-fabric",
    "monai",
    "numpy",
    "scipy",
    "scikit-learn",
    "pydantic",
    "nibabel",
    "SimpleITK",
    "pydicom",
    "pillow",
    "safetensors",
)


class RunFolder:
    """One run of one verb: `config.yaml`, `record.json`, `log.txt`, and what the verb makes.

    Used as a context: the record says `running` inside it, and `done`, `stopped` or `failed` after
    it. With `may_change` a run is resumed with another configuration too: the verb itself knows
    what stays.

    Attributes:
        path: the folder.
        resumed: whether it goes on with an earlier run.
        done: whether that earlier run had ended well already.
        data_before: fingerprints of the data that it was started on.
        writes: whether this process is the one that writes the folder.
    """

    writes = True

    def __init__(
        self,
        path: Path,
        verb: str,
        config: BaseModel,
        if_exists: IfExists,
        may_change: bool = False,
    ) -> None:
        self.path = path
        self._alone = ExitStack()
        known = None if may_change else config
        found = look_at_run(path, verb, known, if_exists)
        if not found.done or may_change:
            found = self._opened(verb, known, if_exists)
        self.resumed, self.done = found.resumed, found.done and not may_change
        self.data_before = found.before.get("data", {})
        self._spent_s = found.before.get("duration_s") or 0.0
        self._began = time.monotonic()
        self.record: dict[str, Any] = {
            "verb": verb,
            "version": __version__,
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "duration_s": None,
            "resumed": self.resumed,
            "seed": getattr(config, "seed", None),
            "device": "cpu",
            "machine": {
                "python": platform.python_version(),
                "system": platform.system(),
                "threads": torch.get_num_threads(),
            },
            "git": git_state(),
            "packages": package_versions(_PACKAGES),
            # Kept, so that other data are refused however often a resume was tried.
            "data": dict(self.data_before),
            "summary": {},
        }
        if self.done:
            self.record = json.loads((path / "record.json").read_text(encoding="utf-8"))
            return
        self._write_record()
        write_text(path / "config.yaml", dump_config(config))

    def __enter__(self) -> Self:
        self._handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("covidssl").addHandler(self._handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = isinstance(error, (KeyboardInterrupt, StoppedError))
        if stopped:
            log.warning("%s", str(error) or "Stopped. Go on with --resume.")
        elif error is not None:
            log.error("%s: %s", type(error).__name__, error)
        logging.getLogger("covidssl").removeHandler(self._handler)
        with suppress(OSError):  # on a full disk, of which the error tells
            self._handler.close()
        if not self.done:
            self.record["status"] = "done" if error is None else "stopped" if stopped else "failed"
            self._write_last(error)
        self._alone.close()

    def note(self, **entries: Any) -> None:
        """Put entries such as `device` or `data` into the record."""
        for key, value in entries.items():
            if isinstance(value, Mapping) and isinstance(self.record.get(key), dict):
                self.record[key] |= value
            else:
                self.record[key] = value
        self._write_record()

    def note_data(self, **fingerprints: str) -> None:
        """Put fingerprints of data into the record.

        On a finished run they are compared and nothing is written.

        Raises:
            UsageError: when a resumed or finished run was started on other data.
        """
        for name, fingerprint in fingerprints.items():
            if self.data_before.get(name, fingerprint) != fingerprint:
                raise UsageError(
                    f"{self.path}: cannot be resumed, its data changed since it was started: "
                    f"{name}. Give the same data, or choose another --out."
                )
        if not self.done:
            self.note(data=fingerprints)

    def _opened(self, verb: str, config: BaseModel | None, if_exists: IfExists) -> Found:
        """Make the folder, or enter it alone; empty where it is not gone on with."""
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as entered:
            entered.enter_context(alone_in_run(self.path, verb))
            # Again: until it was locked another process may have worked in it.
            found = look_at_run(self.path, verb, config, if_exists)
            self._alone = entered.pop_all()
        if if_exists == "overwrite":
            for entry in self.path.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != _LOCK:
                    entry.unlink()
        return found

    def _write_last(self, error: BaseException | None) -> None:
        try:
            self._write_record()
        except NoRoomError as full:
            if error is None:
                raise
            # Why the run ended is worth more than that it could not be written down.
            log.error("%s", full)

    def _write_record(self) -> None:
        # A run that was resumed has taken the time of all its parts.
        self.record["duration_s"] = round(self._spent_s + time.monotonic() - self._began, 2)
        write_json(self.path / "record.json", self.record)


def alone_in_run(path: Path, verb: str) -> AbstractContextManager[None]:
    """Keep other processes out of a run folder that is there.

    Raises:
        BusyError: on entering, when another one is working in it.
    """
    refusal = (
        f"another 'covidssl {verb}' is working in it. Wait until that one has ended, or choose "
        f"another --out."
    )
    return alone_in(path, _LOCK, refusal)


def git_state(folder: Path = _PACKAGE) -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this package runs from; None outside of one.

    A package installed into somebody's own checkout (in `.venv`) is no part of that one.
    """
    try:
        if not _git(folder, "ls-files", "."):
            return None
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(dirty)}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def package_versions(names: tuple[str, ...]) -> dict[str, str | None]:
    """Installed versions of packages, None for what is missing."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


class Found(NamedTuple):
    """What stands where a run is to be written.

    Attributes:
        resumed: whether it goes on with an earlier run.
        done: whether that one had ended well already.
        before: the record of that one.
    """

    resumed: bool = False
    done: bool = False
    before: Mapping[str, Any] = MappingProxyType({})


def look_at_run(path: Path, verb: str, config: BaseModel | None, if_exists: IfExists) -> Found:
    """See whether a run may be written there; nothing is changed.

    Args:
        path: the run folder.
        verb: that will write it.
        config: that a resume must have; None for any.
        if_exists: what becomes of a folder that is there.

    Raises:
        UsageError: for an output that exists, is not a run's of this verb, or cannot be resumed.
    """
    if not path.exists() or (path.is_dir() and _is_free(path)):
        return Found()
    record = _record_of(path)
    if if_exists == "refuse":
        raise UsageError(
            f"{path}: exists already. Use --resume to go on with it, --overwrite to start again, "
            f"or another --out."
        )
    if record is None or record.get("verb") != verb:
        raise UsageError(
            f"{path}: is not empty and not a folder that 'covidssl {verb}' made; nothing in it was "
            f"touched. Choose another --out."
        )
    if if_exists == "overwrite" or not (path / "config.yaml").is_file():
        return Found()  # without a configuration it was killed before it had begun
    if config is not None:
        _check_same(path, config)
    return Found(True, record.get("status") == "done", record)


def _is_free(folder: Path) -> bool:
    """Whether nothing lies there but what a run leaves that was killed before it had begun."""
    return all(
        entry.name == _LOCK or (entry.name.startswith(".") and ".part" in entry.name)
        for entry in folder.iterdir()
    )


def changed_results(before: BaseModel, after: BaseModel) -> list[str]:
    """Keys that make another result, as `key: before -> after`: all that differ, but for `FREE`."""
    return [one for one in changed_keys(before, after) if one.partition(":")[0] not in FREE]


def _check_same(path: Path, config: BaseModel) -> None:
    try:
        before = load_config(type(config), path / "config.yaml")
    except UsageError as error:
        raise UsageError(
            f"{path}: cannot be resumed, another version of covidssl wrote its configuration: "
            f"{error} Choose another --out."
        ) from error
    changed = changed_results(before, config)
    if changed:
        raise UsageError(
            f"{path}: cannot be resumed, the configuration has changed: {'; '.join(changed[:8])}. "
            f"Resume with the same one, or choose another --out."
        )


def _record_of(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((path / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
