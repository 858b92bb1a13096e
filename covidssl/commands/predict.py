"""`covidssl predict`: models and folders of scans in, a table with its evidence out."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from covidssl.counting import counted
from covidssl.errors import StoppedError, UsageError
from covidssl.experiments import PredictConfig
from covidssl.files import size_in_words, write_json
from covidssl.inference.books import Books
from covidssl.inference.engines import Engine, answered
from covidssl.inference.estimate import Estimate, estimated
from covidssl.inference.job import Job
from covidssl.inference.joining import check_room, entries_of_shards, link_shards, shards_of
from covidssl.inference.journal import Entry, Journal
from covidssl.inference.record import counts_of, reasons_of, summary, unanswered, write_run
from covidssl.inference.shard import Shard
from covidssl.inference.sources import Sought, seek
from covidssl.inference.table import write_tables
from covidssl.io import Reading
from covidssl.model import Model
from covidssl.prediction import AnswerPlan, Predictor
from covidssl.progress import track
from covidssl.pseudonyms import Pseudonyms, key_beside
from covidssl.runs import IfExists, RunFolder, look_at_run
from covidssl.shipped import shipped
from covidssl.training import StopSignals
from covidssl.viewing import look_command

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class How:
    """What changes how a run is done, and not what comes out of it.

    Attributes:
        device: where the networks run: auto, cpu or cuda.
        engine: where scans are answered.
        shard: answer its scans alone, into a folder of its own; None for all.
        retry_failed: read scans again that failed before, though nothing has changed.
        tell: gets a word for the person who asks, which is kept nowhere; None: nobody asks.
    """

    device: str = "auto"
    engine: Engine = Engine()
    shard: Shard | None = None
    retry_failed: bool = False
    tell: Callable[[str], None] | None = None


def main(
    config: PredictConfig,
    models: Path | Sequence[Path],
    inputs: Sequence[Path],
    out: Path,
    if_exists: IfExists = "refuse",
    how: How | None = None,
) -> int:
    """Answer every scan found in `inputs`; one bad scan never stops the rest.

    With `resume` a scan is not read again while its files are as they were, be it one that failed:
    the INPUTs may be others, the models and the configuration may not.

    Returns:
        How many scans have no answer: the models abstain, or the scan cannot be read.

    Raises:
        CovidsslError: when a model cannot be loaded, there is no CT at all, an output exists, or
            the disk is full.
    """
    how = how or How()
    begun = _begun(config, (models, inputs), out, if_exists, how)
    folder = begun.job.out
    if how.shard is not None:
        _mark(out)
    with RunFolder(folder, "predict", config, if_exists, may_change=True) as run:
        _note(run, begun)
        entries = _answer(begun, how)
        unanswered = _finish(run, begun, entries)
    _tell_how_to_look(how.tell, folder, config, begun.sought, entries)
    return unanswered


def join(
    config: PredictConfig,
    models: Path | Sequence[Path],
    inputs: Sequence[Path],
    out: Path,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Make one table of all shards of `out`; given as the shards were.

    Returns:
        How many scans have no answer.

    Raises:
        CovidsslError: when a shard is missing or not done, has another configuration or other
            models, or its scans were changed since.
    """
    job = _job(config, models, out, "cpu")
    predictor, ids = job.predictor(), _pseudonyms(config, out)
    for shard in shards_of(out):
        before = look_at_run(shard.folder(out), "predict", config, "resume").before
        if differing := _differing(before, _data(predictor, ids)):
            raise UsageError(
                f"{shard.folder(out).name}: was answered by other models, or has pseudonyms of "
                f"another key ({', '.join(differing)}). Give those of the shards."
            )
    hides = ids if config.hash_paths else None
    begun = _Begun(job, predictor, seek(inputs, hides, config.all_series, out=out), ids)
    entries = entries_of_shards(out, begun.sought)
    with RunFolder(out, "predict", config, "resume", may_change=True) as run:
        # Not compared: the shards decide, which may have been answered anew since the last join.
        _note(run, begun)
        link_shards(out, [entry.scan for entry in entries])
        Journal(out, entries).close()
        write_tables(out, entries, begun.sought.passed_over)
        unanswered = _finish(run, begun, entries)
    _tell_how_to_look(tell, out, config, begun.sought, entries)
    return unanswered


def dry_run(
    config: PredictConfig,
    models: Path | Sequence[Path],
    inputs: Sequence[Path],
    out: Path,
    if_exists: IfExists = "refuse",
    how: How | None = None,
) -> list[str]:
    """What `main` would do and take, in plain lines; writes nothing that stays.

    Raises:
        CovidsslError: as `main`, of which it refuses whatever that would refuse.
    """
    how = how or How()
    begun = _begun(config, (models, inputs), out, if_exists, how, makes_key=False)
    afresh = if_exists != "resume"
    found = estimated(
        begun.sought, begun.job, begun.predictor, how.engine, how.retry_failed, afresh
    )
    return _lines(found)


@dataclass(frozen=True)
class _Begun:
    job: Job
    predictor: Predictor
    sought: Sought
    ids: Pseudonyms | None


def _begun(
    config: PredictConfig,
    given: tuple[Path | Sequence[Path], Sequence[Path]],
    out: Path,
    if_exists: IfExists,
    how: How,
    makes_key: bool = True,
) -> _Begun:
    """All that can be refused is, before anything is written; `given`: models and INPUTs."""
    models, inputs = given
    check_room(out, how.shard)
    folder = out if how.shard is None else how.shard.folder(out)
    if how.shard is not None:
        look_at_run(out, "predict", None, "resume")
    how.engine.check()
    before = look_at_run(folder, "predict", config, if_exists).before
    job = _job(config, models, folder, how.device)
    predictor = job.predictor()
    ids = _pseudonyms(config, out, makes_key)
    if differing := _differing(before, _data(predictor, ids)):
        raise UsageError(
            f"{folder}: cannot be resumed, its data changed since it was started: "
            f"{', '.join(differing)}. Give the same models and the same key, or choose another "
            f"--out."
        )
    job = replace(job, reading=replace(job.reading, ids=ids))
    hides = ids if config.hash_paths else None
    sought = seek(inputs, hides, config.all_series, how.shard, out)
    return _Begun(job, predictor, sought, ids)


def _job(config: PredictConfig, models: Path | Sequence[Path], out: Path, device: str) -> Job:
    if config.dicom and find_spec("highdicom") is None:
        raise UsageError("--dicom: highdicom is not installed: pip install 'covidssl[dicom]'.")
    if config.dicom and not config.maps:
        raise UsageError("--dicom writes the maps, and --no-maps makes none: give one of them.")
    if config.dicom and config.hash_paths:
        raise UsageError(
            "--dicom: DICOM objects name the patient as the scan does, and --hash-paths hides "
            "names: give one of them."
        )
    paths = tuple(map(shipped, (models,) if isinstance(models, Path) else models))
    plan = AnswerPlan.model_validate(config.model_dump(include=set(AnswerPlan.model_fields)))
    return Job(out, paths, plan, Reading(config.pixels, config.policy), device, config.dicom)


def _pseudonyms(config: PredictConfig, out: Path, makes_key: bool = True) -> Pseudonyms | None:
    if config.ids_key is None and not config.hash_paths:
        # Identifiers that are kept need no key.
        return Pseudonyms(b"", keep_ids=True) if config.keep_ids else None
    key = config.ids_key or key_beside(out)
    if not makes_key and not key.exists():
        return Pseudonyms(secrets.token_bytes(32), config.keep_ids)
    return Pseudonyms.from_file(key, config.keep_ids)


def _mark(out: Path) -> None:
    """Say of the folder of all shards whose it is."""
    if not (out / "record.json").is_file():
        write_json(out / "record.json", {"verb": "predict", "status": "in shards"})


def _data(predictor: Predictor, ids: Pseudonyms | None) -> dict[str, str]:
    """What must be the same when a run is resumed."""
    cards = [model.card.model_dump_json() for model in predictor.models]
    # Beside a card may be missing what it tells the hash of: how far a scan may be from training.
    learnt = [getattr(model, "learnt", None) is not None for model in predictor.models]
    card = hashlib.sha256(json.dumps([cards, learnt]).encode()).hexdigest()
    network = "classifier" if isinstance(predictor.model, Model) else "restoration"
    data = {network: predictor.sha256, "card": card}
    # Rows of one table must not have pseudonyms of two keys.
    return data if ids is None else data | {"ids": ids.of("key", "of the run")}


def _differing(before: Mapping[str, Any], data: Mapping[str, str]) -> list[str]:
    """What of these is not as a run was begun with; nothing where there was no run."""
    known = before.get("data", {})
    return [name for name, value in data.items() if known and known.get(name) != value]


def _note(run: RunFolder, begun: _Begun) -> None:
    data = _data(begun.predictor, begun.ids)
    run.note(data=data, device=str(begun.predictor.model.device))
    for text in begun.predictor.notes:
        log.info("%s", text)


def _answer(begun: _Begun, how: How) -> list[Entry]:
    job, predictor = begun.job, begun.predictor
    with Books(job.out, begun.sought, how.retry_failed) as books, StopSignals() as signals:
        count, done = len(books.order), len(books.entries)
        log.info("%s, %d of them done", counted(count, "scan"), done)
        try:
            new = answered(books.todo, job, predictor, how.engine, lambda: bool(signals.caught))
            for written in track(new, "predicting", count, done, books.told):
                books.keep(written)
        finally:
            books.write_tables()
        if signals.caught:
            raise StoppedError("Stopped. Go on with --resume.", signals.caught)
        return books.in_order()


def _finish(run: RunFolder, begun: _Begun, entries: Sequence[Entry]) -> int:
    sought, predictor = begun.sought, begun.predictor
    counts, reasons = counts_of(entries, sought.passed_over), reasons_of(entries)
    told = {"reasons": reasons, "ignored": sought.ignored, "notes": list(predictor.notes)}
    write_run(run.path, predictor.models, predictor.plan, counts, told)
    stamps = "".join(sorted(entry.stamp for entry in entries))
    run.note(data={"inputs": hashlib.sha256(stamps.encode()).hexdigest()}, summary=counts)
    for line in summary(counts, reasons):
        log.info("%s", line)
    log.info("Why, scan by scan: predictions.csv. A page of it: covidssl report.")
    return unanswered(counts)


def _tell_how_to_look(
    tell: Callable[[str], None] | None,
    out: Path,
    config: PredictConfig,
    sought: Sought,
    entries: Sequence[Entry],
) -> None:
    # The command names the scan's place, which hidden paths must not give away.
    if tell is None or config.hash_paths:
        return
    command = look_command(out, sought.scans, entries, Reading(config.pixels, config.policy))
    if command:
        tell(f"To look at a scan and its map: {command}")


def _lines(found: Estimate) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found.formats.items()))
    lines = [f"found: {counts or 'nothing'}"]
    if found.passed_over:
        lines.append(f"passed over for another series of their folder: {found.passed_over}")
    if found.there:
        lines.append(f"answered already: {found.there}")
    lines.append(f"to answer: {found.to_answer}")
    if found.seconds is not None and found.disk_bytes is not None:
        time = timedelta(seconds=round(found.seconds))
        lines.append(f"time, from {counted(found.tried, 'scan')} tried: {time}")
        size, free = size_in_words(found.disk_bytes), size_in_words(found.free_bytes)
        lines.append(f"disk: {size} of {free} free")
        if found.disk_bytes > found.free_bytes:
            lines.append("It will not fit.")
    return lines
