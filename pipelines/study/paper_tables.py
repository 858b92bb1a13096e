"""The tables of docs/reproduction.md, made from records alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from covidssl.metrics import Metric, holm
from pipelines.study.arms import OURS
from pipelines.study.documents import Block
from pipelines.study.paper import FINE_TUNED, ON_GPU, PROBES
from pipelines.study.paper_targets import margins_table, targets_table
from pipelines.study.records import Found, Record, read_records
from pipelines.study.scores import LIMITS, METRIC_WORDS, METRICS, Compared, against, pooled
from pipelines.study.standing import Field, Standing, field_of, only_probes, words_of
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    fraction_text,
    markdown_table,
    p_text,
)
from pipelines.study.targets import SETS, VIEW_WORDS, VIEWS, WORDS

PAGE = Path("reproduction.md")
SHARES = (1.0, 0.1)
FROZEN = "frozen probe"
NO_IMAGENET = (
    "ImageNet, supervised: not run. Its weights are not part of this project; "
    "`--imagenet FILE` takes torchvision's file."
)


def paper_blocks() -> tuple[Block, ...]:
    """All blocks of the page that are made from records."""
    makers: dict[str, Callable[[Path], str]] = {
        **{f"paper-table-{name}": partial(paper_table, set_name=name) for name in SETS},
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
    notes = [LIMITS]
    if "imagenet" not in field.records:
        notes.append(NO_IMAGENET)
    if field.torn:
        notes.append(
            f"Left out, since they are of another encoder than the probes: the fine-tuned models "
            f"of {', '.join(map(words_of, field.torn))}."
        )
    return "\n\n".join([*parts, *notes])


def _share_table(field: Field, fraction: float) -> str:
    standings = {arm: field.standing(arm, fraction) for arm in [*field.learnt, *field.rivals]}
    compared = _against_ours(field, standings, fraction)
    rows = []
    for arm, standing in standings.items():
        how = "" if arm in field.rivals else _protocols(standing)
        founds = field.founds(standing, fraction)
        rows.append([words_of(arm), how, *_scores(field, founds), *_beside(compared.get(arm))])
        if arm in field.learnt and how != FROZEN:
            frozen = _frozen(field.records[arm], fraction)
            rows.append([words_of(arm), FROZEN, *_scores(field, frozen), "", ""])
    head = ["arm", "labels used by", *METRIC_WORDS.values(), "AUROC, ours less this", "p (Holm)"]
    first = next(iter(standings.values())).record.cells
    labels = round(next(iter(first.values())).labels)
    title = f"**{fraction_text(fraction)} of the labels** (some {labels} images a fold)"
    return f"{title}\n\n{markdown_table(head, rows, words=2)}"


def _against_ours(
    field: Field, standings: dict[str, Standing], fraction: float
) -> dict[str, Compared]:
    """Ours against each other arm and rival, on the draws that both were given."""
    if OURS not in standings:
        return {}
    by_draws: dict[frozenset[int], dict[str, list[Found]]] = {}
    for arm, standing in standings.items():
        if arm != OURS:
            draws = standings[OURS].draws & standing.draws
            own = field.founds(standing, fraction, draws)
            by_draws.setdefault(draws, {})[arm] = own
    return _holm_over_all(field, standings[OURS], by_draws, fraction)


def _holm_over_all(
    field: Field,
    ours: Standing,
    by_draws: dict[frozenset[int], dict[str, list[Found]]],
    fraction: float,
) -> dict[str, Compared]:
    found: dict[str, Compared] = {}
    for draws, others in by_draws.items():
        found |= against(field.images, field.founds(ours, fraction, draws), others)
    corrected = holm([one.p_value for one in found.values()])
    return {
        arm: one._replace(corrected=float(p))
        for (arm, one), p in zip(found.items(), corrected, strict=True)
    }


def _scores(field: Field, founds: Sequence[Found]) -> list[str]:
    return [estimate_text(pooled(field.images, founds, metric)) for metric in METRICS]


def _beside(compared: Compared | None) -> list[str]:
    if compared is None:
        return ["", ""]
    return [difference_text(compared.difference), p_text(compared.corrected)]


def _protocols(standing: Standing) -> str:
    return ", ".join(FROZEN if one == "probe" else one for one in standing.protocols)


def _frozen(record: Record, fraction: float) -> list[Found]:
    cells = only_probes(record).cells
    return [cells[cell] for cell in sorted(cells) if cell.fraction == fraction]


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
                estimate_text(pooled(field.images, _frozen(field.records[arm], 1.0), metric))
                for field in (random, blocked)
                for metric in metrics
            ]
            rows.append([WORDS[name], words_of(arm), *cells])
    if not rows:
        return ""
    head = ["set", "arm (frozen probe, 100 %)", "random: accuracy", "random: AUROC",
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
                estimate_text(pooled(field.images, _frozen(field.records[arm], share)))
                for share in SHARES
                for field in whole
            ]
            rows.append([WORDS[name], words_of(arm), *cells])
    if not rows:
        return ""
    head = ["set", "arm (frozen probe)"]
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
    return "\n\n".join([*parts, LIMITS]) if parts else ""


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
