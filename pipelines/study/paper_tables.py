"""The tables of docs/reproduction.md, made from records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from covidssl.metrics import Metric, holm
from pipelines.study.arms import COMPARED, NOTHING, OURS
from pipelines.study.documents import Block
from pipelines.study.paper import FINE_TUNED, ON_GPU, PROBES, WITH_TARGETS
from pipelines.study.paper_targets import margins_table, targets_count, targets_table
from pipelines.study.records import Found, read_records
from pipelines.study.scores import (
    LIMITS,
    METRIC_WORDS,
    METRICS,
    TESTED,
    are_frozen,
    by_draws,
    difference,
    founds_of,
    mean_of_folds,
    p_value,
    pooled,
    protocols_of,
)
from pipelines.study.standing import (
    OTHERS,
    Field,
    field_of,
    flat,
    shared_draws,
    way_words,
    words_of,
)
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    fraction_text,
    markdown_table,
    p_text,
    signed_range_text,
)
from pipelines.study.targets import SETS, VIEW_WORDS, VIEWS, WORDS

PAGE, FIRST_PAGE = Path("reproduction.md"), Path("../README.md")
SHARES = (1.0, 0.1)
SINGLE = "single draws"
_COMPARED_HEAD = ("ours / this: compared", "draws of both", "AUROC, ours less this", SINGLE,
                  "p (Holm)")  # fmt: skip
NO_IMAGENET = (
    "ImageNet, supervised: not run. Its weights are not part of this project; "
    "`--imagenet FILE` takes torchvision's file."
)


def paper_blocks() -> tuple[Block, ...]:
    """All blocks that the comparison makes: those of its page, and what the first page says."""
    return (*page_blocks(), Block(FIRST_PAGE, "targets", targets_count))


def page_blocks() -> tuple[Block, ...]:
    """All blocks of the page that are made from records; other studies make none there."""
    makers: dict[str, Callable[[Path], str]] = {
        **{f"paper-table-{name}": partial(paper_table, set_name=name) for name in SETS},
        "paper-table-ways": ways_table,
        "paper-table-random": random_table,
        "paper-table-ranked": ranked_table,
        "paper-targets": targets_table,
        "paper-margins": margins_table,
        "paper-time": time_table,
    }
    on_gpu = Block(PAGE, "paper-table-gpu", gpu_table, "make reproduce SCALE=gpu")
    return (*(Block(PAGE, key, make) for key, make in makers.items()), on_gpu)


def paper_table(records: Path, set_name: str) -> str:
    """All arms of a set on the blocked split, at each share of the labels."""
    field = field_of(records, set_name, "blocked", "plain")
    if field is None:
        return ""
    parts = [_share_table(field, fraction) for fraction in SHARES]
    notes = [LIMITS, TESTED]
    if "imagenet" not in field.records:
        notes.append(NO_IMAGENET)
    if field.torn:
        notes.append(
            f"Left out, since they are of another encoder or of other frames than the probes: the "
            f"fine-tuned models of {', '.join(map(words_of, field.torn))}."
        )
    missing = _not_run_yet(field)
    if missing:
        notes.append(f"Not run yet: {'; '.join(missing)}.")
    return "\n\n".join([*parts, *notes])


def _not_run_yet(field: Field) -> list[str]:
    """What the page speaks of and no record holds, in words."""
    arms = [arm for arm in (*COMPARED, WITH_TARGETS) if arm not in field.records]
    tuned = {arm for arm in field.learnt if not are_frozen(protocols_of(field.records[arm], 1.0))}
    said = [words_of(arm) for arm in arms]
    said += [f"{words_of(arm)}, fine-tuned" for arm in (OURS, NOTHING) if arm not in tuned]
    if not tuned & set(OTHERS):
        said.append("the best other pretext, fine-tuned")
    return said


def _share_table(field: Field, fraction: float) -> str:
    standings = {arm: field.standing(arm, fraction) for arm in [*field.learnt, *field.rivals]}
    compared = _against_ours(field, list(standings), fraction)
    blank = [""] * (len(_COMPARED_HEAD) - (fraction == 1.0))
    rows = []
    for arm, standing in standings.items():
        how = "" if arm in field.rivals else _protocols(standing.protocols)
        own = _scores(field, field.founds(standing, fraction))
        rows.append([words_of(arm), how, *own, *compared.get(arm, blank)])
        if arm in field.learnt and not are_frozen(standing.protocols):
            frozen = field.frozen(arm, fraction)
            scores = _scores(field, field.founds(frozen, fraction))
            rows.append([words_of(arm), _protocols(frozen.protocols), *scores, *blank])
    beside = [one for one in _COMPARED_HEAD if fraction < 1.0 or one != SINGLE]
    head = ["arm", "labels used by", "draws", *METRIC_WORDS.values(), "AUROC, mean of folds"]
    first = next(iter(standings.values())).record.cells
    labels = round(next(iter(first.values())).labels)
    title = f"**{fraction_text(fraction)} of the labels** (some {labels} images a fold)"
    return f"{title}\n\n{markdown_table([*head, *beside], rows, words=2)}"


def _against_ours(field: Field, arms: Sequence[str], fraction: float) -> dict[str, list[str]]:
    """Ours against each other arm and rival, on the draws that both were given, in cells."""
    if OURS not in arms:
        return {}
    pairs = {arm: field.paired(OURS, arm, fraction) for arm in arms if arm != OURS}
    corrected = holm([p_value(field.images, *pair.flat) for pair in pairs.values()])
    rows = {}
    for (arm, pair), p in zip(pairs.items(), corrected, strict=True):
        one, other = map(_protocols, pair.protocols)
        how = one if arm in field.rivals or one == other else f"{one} / {other}"
        row = [how, str(len(pair.one)), difference_text(difference(field.images, *pair.flat))]
        if fraction < 1.0:
            row.append(signed_range_text(by_draws(field.images, pair.one, pair.other)))
        rows[arm] = [*row, p_text(float(p))]
    return rows


def _scores(field: Field, founds: Mapping[int, Sequence[Found]]) -> list[str]:
    """Number of draws, metrics, mean of folds."""
    own = flat(founds)
    scores = [pooled(field.images, own, metric) for metric in METRICS]
    scores.append(mean_of_folds(field.images, own))
    return [str(len(founds)), *map(estimate_text, scores)]


def _protocols(protocols: Sequence[str]) -> str:
    return "; ".join(map(way_words, protocols))


def _frozen(field: Field, arm: str, fraction: float) -> list[Found]:
    return flat(field.founds(field.frozen(arm, fraction), fraction))


def ways_table(records: Path) -> str:
    """Each protocol by itself, of arms that were fine-tuned, on the draws that all were given."""
    rows = []
    for name in SETS:
        field = field_of(records, name, "blocked", "plain")
        if field is None:
            continue
        for arm in field.learnt:
            for share in SHARES:
                rows += [[WORDS[name], words_of(arm), *row] for row in _ways(field, arm, share)]
    if not rows:
        return ""
    head = ["set", "arm", "labels", "used by", "draws", "accuracy", "AUROC"]
    return f"{markdown_table(head, rows, words=4)}\n\n{LIMITS}"


def _ways(field: Field, arm: str, share: float) -> list[list[str]]:
    """Share, protocol, draws, accuracy and AUROC of each protocol; none where all are frozen."""
    record, rows = field.records[arm], []
    protocols = protocols_of(record, share)
    if are_frozen(protocols):
        return []
    draws = shared_draws(record, share)
    for protocol in protocols:
        founds = founds_of(record, protocol, share, draws)
        scores = [
            estimate_text(pooled(field.images, founds, metric)) for metric in ("accuracy", "auroc")
        ]
        rows.append([fraction_text(share), way_words(protocol), str(len(draws)), *scores])
    return rows


def random_table(records: Path) -> str:
    """What a random split says, always beside the thumbnail's score on it."""
    metrics: tuple[Metric, ...] = ("accuracy", "auroc")
    rows = []
    for name in SETS:
        random, blocked = (
            field_of(records, name, split, "plain") for split in ("random", "blocked")
        )
        if random is None or blocked is None:
            continue
        for arm in [*random.learnt, *random.rivals]:
            if arm not in blocked.records:
                continue
            cells = [
                estimate_text(pooled(field.images, _frozen(field, arm, 1.0), metric))
                for field in (random, blocked)
                for metric in metrics
            ]
            rows.append([WORDS[name], words_of(arm), *cells])
    if not rows:
        return ""
    head = ["set", "arm (frozen, 100 %)", "random: accuracy", "random: AUROC",
            "blocked: accuracy", "blocked: AUROC"]  # fmt: skip
    return f"{markdown_table(head, rows, words=2)}\n\n{LIMITS}"


def ranked_table(records: Path) -> str:
    """Frozen probes and rivals on images without what a shortcut feeds on, beside the images."""
    rows = []
    for name in SETS:
        fields = [field_of(records, name, "blocked", view) for view in VIEWS]
        if any(field is None for field in fields):
            continue
        whole = [field for field in fields if field is not None]
        for arm in [*whole[0].learnt, *whole[0].rivals]:
            if any(arm not in field.records for field in whole):
                continue
            cells = [
                estimate_text(pooled(field.images, _frozen(field, arm, share)))
                for share in SHARES
                for field in whole
            ]
            rows.append([WORDS[name], words_of(arm), *cells])
    if not rows:
        return ""
    head = ["set", "arm (frozen)"]
    head += [f"{fraction_text(share)}: {VIEW_WORDS[view]}" for share in SHARES for view in VIEWS]
    return f"AUROC.\n\n{markdown_table(head, rows, words=2)}\n\n{LIMITS}"


def gpu_table(records: Path) -> str:
    """The larger network's arms; a paragraph a set and share of the labels."""
    parts = []
    for name in SETS:
        field = field_of(records, name, "blocked", "plain", (ON_GPU, ""))
        if field is None:
            continue
        parts += [f"{WORDS[name]}. {_share_table(field, fraction)}" for fraction in SHARES]
    return "\n\n".join([*parts, LIMITS, TESTED]) if parts else ""


def time_table(records: Path) -> str:
    """What the records took, and on what."""
    own = [*read_records(records / PROBES), *read_records(records / FINE_TUNED)]
    if not own:
        return ""
    rows = []
    for arm in dict.fromkeys(record.facts.arm for record in own):
        of = [record.facts for record in own if record.facts.arm == arm]
        taught = next((one.settings.get("pretraining minutes") for one in of), None)
        tuned = sum(one.minutes for one in of if "protocols" in one.settings)
        probed = sum(one.minutes for one in of if "protocols" not in one.settings)
        minutes = [*("" if one is None else f"{one:.1f}" for one in (taught, probed, tuned))]
        rows.append([words_of(arm), *minutes])
    facts = [record.facts for record in own]
    machines = sorted({one.settings.get("machine", {}).get("processor", "") for one in facts})
    threads = sorted({str(one.threads) for one in facts})
    days = sorted(one.made[:10] for one in facts)
    head = ["arm", "pretraining, minutes", "probes, minutes", "fine-tuning, minutes"]
    said = (
        f"Made {days[0]} to {days[-1]} on {', '.join(filter(None, machines))}; device "
        f"{', '.join(sorted({one.device for one in facts}))}; threads a process: "
        f"{', '.join(threads)}. Other work ran on the machine at the same time."
    )
    return f"{markdown_table(head, rows)}\n\n{said}"
