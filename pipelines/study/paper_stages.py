"""The stages of the reproduction: what each makes, what proves it done, what it takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from covidssl.commands import import_weights
from covidssl.files import sha256_of, write_json
from covidssl.store import RECORD as STORE_RECORD
from pipelines.study.arms import COMPARED, NOTHING, OURS, PRETEXTS, ArmName
from pipelines.study.documents import differing, remake_pages
from pipelines.study.folds import FOLDS, GAPS
from pipelines.study.paper import Bench
from pipelines.study.paper_finetuned import fine_tuned_left, run_fine_tuned, units
from pipelines.study.paper_probes import (
    best_other,
    probes_left,
    rivals_left,
    run_probes,
    run_rivals,
    run_with_targets,
    with_targets_left,
)
from pipelines.study.paper_tables import page_blocks
from pipelines.study.pretraining import (
    Corpus,
    data_of_encoder,
    is_done,
    pretrain,
    pretrain_config,
    store_folder,
    what_differs,
)
from pipelines.study.stages import Stage
from pipelines.study.targets import SETS, SetName
from pipelines.study.unlabelled import images_of_fold, prepare_luna16, prepare_with_targets

_IMAGES_A_SECOND = {
    "perlin": 25.0,
    "models_genesis": 25.0,
    "mae": 25.0,
    "rotation": 12.0,
    "simclr": 20.0,
}
"""Measured on one thread of a processor of two cores at 128 px."""

_STORE_MINUTES = {"luna16": 1.5, "luna16-and-targets": 5.0}
_PROBE_MINUTES, _RIVAL_MINUTES, _WITH_TARGETS_MINUTES = 4.0, 8.0, 15.0
_FINE_TUNE_MINUTES = 0.8
"""Of one fine-tuning; 0.55 where nothing else ran, 0.9 beside two other trainings."""


def stages_of(bench: Bench, pages: Path) -> list[Stage]:
    """All stages on a CPU, each after those that it needs."""
    brought: tuple[ArmName, ...] = ("imagenet",) if bench.imagenet else ()
    arms = (*COMPARED, *brought)
    probes = [f"probe-{arm}" for arm in arms]
    stages = [
        _store_stage(bench),
        *(_pretrain_stage(bench, arm) for arm in COMPARED),
        *([_imagenet_stage(bench, bench.imagenet)] if bench.imagenet else []),
        Stage("rivals", "trivial rivals on both sets", _RIVAL_MINUTES, partial(rivals_left, bench),
              partial(run_rivals, bench)),
        *(_probe_stage(bench, arm) for arm in arms),
        *(_corpus_stage(bench, fold) for fold in range(FOLDS)),
        Stage("probe-with-targets", "probes of the second corpus", _WITH_TARGETS_MINUTES,
              partial(with_targets_left, bench), partial(run_with_targets, bench),
              tuple(f"with-targets-fold-{fold}" for fold in range(FOLDS))),
        *(_fine_tune_stage(bench, arm, name) for arm in (OURS, NOTHING) for name in SETS),
        *(_fine_tune_other_stage(bench, name) for name in SETS),
        *(_fine_tune_stage(bench, arm, name) for arm in brought for name in SETS),
    ]  # fmt: skip
    finetunes = [stage.name for stage in stages if stage.name.startswith("fine-tune-")]
    needs = ("rivals", *probes, "probe-with-targets", *finetunes)
    return [*stages, _table_stage(bench, pages, needs)]


def _store_stage(bench: Bench) -> Stage:
    store = store_folder(bench.runs)
    return Stage(
        "store",
        "LUNA16 slices with enough lung, prepared",
        _STORE_MINUTES["luna16"],
        lambda: "" if (store / STORE_RECORD).is_file() else "no store yet",
        lambda: prepare_luna16(bench.data, store),
    )


def _pretrain_stage(bench: Bench, arm: ArmName) -> Stage:
    return Stage(
        f"pretrain-{arm}",
        f"{arm} on LUNA16",
        _pretraining(bench, arm),
        partial(_pretraining_left, bench, arm),
        partial(_run_pretraining, bench, arm),
        ("store",),
    )


def _pretraining(bench: Bench, arm: ArmName) -> float:
    if arm not in _IMAGES_A_SECOND:
        return 0.1
    plan = pretrain_config(arm, configs=bench.configs).training
    return plan.steps * plan.batch_size / _IMAGES_A_SECOND[arm] / 60


def _pretraining_left(
    bench: Bench, arm: ArmName, corpus: Corpus = "luna16", fold: int | None = None
) -> str:
    run, store = bench.run(arm, corpus, fold), store_folder(bench.runs, corpus, fold)
    config = pretrain_config(arm, configs=bench.configs)
    if is_done(run, config, store):
        return ""
    return what_differs(run, config, store) or "not finished"


def _run_pretraining(bench: Bench, arm: ArmName) -> None:
    config = pretrain_config(arm, configs=bench.configs)
    pretrain(config, store_folder(bench.runs), bench.run(arm), bench.device)


def _imagenet_stage(bench: Bench, file: Path) -> Stage:
    folder = bench.run("imagenet")

    def left() -> str:
        if not bench.encoder("imagenet"):
            return "not imported yet"
        return "" if data_of_encoder(folder) == sha256_of(file) else "another file was imported"

    def run() -> None:
        import_weights.main(file, "torchvision", folder, overwrite=True)

    return Stage("pretrain-imagenet", f"weights of {file.name} as an encoder", 0.2, left, run)


def _probe_stage(bench: Bench, arm: ArmName) -> Stage:
    return Stage(
        f"probe-{arm}",
        f"frozen probes of {arm}: sets x splits x views x shares of the labels",
        _PROBE_MINUTES,
        partial(probes_left, bench, arm),
        partial(run_probes, bench, arm),
        (f"pretrain-{arm}",),
    )


def _corpus_stage(bench: Bench, fold: int) -> Stage:
    corpus: Corpus = "luna16-and-targets"
    store, run = store_folder(bench.runs, corpus, fold), bench.run(OURS, corpus, fold)
    note = store.with_name(f"{store.name}.folds.json")

    @cache
    def now() -> dict[str, Any]:
        cut = {"folds": FOLDS, "gaps": dict(GAPS)}
        if not bench.reads_sets:
            return cut
        return cut | {"images": images_of_fold(list(bench.targets.values()), fold)}

    def left() -> str:
        if not _says(note, now()):
            return "no store of these folds and images yet"
        return _pretraining_left(bench, OURS, corpus, fold)

    def work() -> None:
        if not _says(note, now()):
            shutil.rmtree(store, ignore_errors=True)  # it may hold what is under test now
            note.unlink(missing_ok=True)
            prepare_with_targets(bench.data, list(bench.targets.values()), fold, store)
            write_json(note, now())
        pretrain(pretrain_config(OURS, configs=bench.configs), store, run, bench.device)

    return Stage(
        f"with-targets-fold-{fold}",
        f"{OURS} on LUNA16 and the images that fold {fold} learns from, without their labels",
        _STORE_MINUTES[corpus] + _pretraining(bench, OURS),
        left,
        work,
    )


def _says(note: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a note holds at least these entries."""
    try:
        held = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(held, dict) and all(held.get(key) == one for key, one in wanted.items())


def _fine_tune_stage(bench: Bench, arm: ArmName, name: SetName) -> Stage:
    return Stage(
        f"fine-tune-{arm}-{name}",
        f"{arm} fine-tuned: 5 blocked folds x 2 protocols x 2 shares x 2 seeds",
        len(units()) * _FINE_TUNE_MINUTES,
        partial(fine_tuned_left, bench, arm, name),
        partial(run_fine_tuned, bench, arm, name),
        (f"pretrain-{arm}",),
    )


def _fine_tune_other_stage(bench: Bench, name: SetName) -> Stage:
    needs = tuple(f"probe-{arm}" for arm in PRETEXTS)

    def left() -> str:
        if any(probes_left(bench, arm) for arm in PRETEXTS):
            return "the best other pretext is not known yet"
        return fine_tuned_left(bench, best_other(bench), name)

    return Stage(
        f"fine-tune-best-other-{name}",
        "the other pretext that is best within the labels, fine-tuned likewise",
        len(units()) * _FINE_TUNE_MINUTES,
        left,
        lambda: run_fine_tuned(bench, best_other(bench), name),
        needs,
    )


def _table_stage(bench: Bench, pages: Path, needs: tuple[str, ...]) -> Stage:
    def left() -> str:
        if differing(pages, page_blocks(), bench.records):
            return "the page is not what the records give"
        return ""

    return Stage(
        "tables",
        "the tables of docs/reproduction.md",
        1.0,
        left,
        lambda: _remake(pages, bench.records),
        needs,
    )


def _remake(pages: Path, records: Path) -> None:
    remake_pages(pages, page_blocks(), records)
