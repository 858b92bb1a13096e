"""What an evaluation leaves in its folder, as blocks of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, FiniteFloat

from covidssl.metrics import CalibrationError
from covidssl.report.blocks import Block, Cell, Facts, Gallery, Note, Table, plain
from covidssl.report.curves import Curves, charts
from covidssl.report.reading import Interval, read_json, read_picture

MEASURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV, in this set",
    "npv": "NPV, in this set",
    "f1": "F1",
    "mcc": "Matthews' correlation",
    "brier": "Brier score (0 is best)",
    "ece": "Expected calibration error (0 is best; no interval)",
    "slope": "Calibration slope (1 is right)",
    "intercept": "Calibration intercept (0 is right)",
}

_COMPARED = ("auroc", "accuracy", "sensitivity", "specificity", "brier")
_KINDS = {"trivial": "trivial model", "view": "the model itself"}


class _Beside(BaseModel):
    kind: str
    words: str
    n: int
    auroc: Interval | None = None
    accuracy: Interval | None = None
    difference: Interval | None = None
    note: str = ""


class _Verdict(BaseModel):
    text: str
    warning: bool


class _AtPrevalence(BaseModel):
    prevalence: FiniteFloat
    ppv: Interval | None = None
    npv: Interval | None = None
    accuracy: Interval | None = None


class _Subgroup(BaseModel):
    column: str
    value: str
    n: int
    positives: int
    scores: dict[str, Interval]
    from_the_rest: Interval | None = None
    cautions: list[str] = Field(default_factory=list)
    small: bool = False


class _Error(BaseModel):
    value: FiniteFloat
    by_chance: FiniteFloat
    as_large: FiniteFloat


class _Calibration(BaseModel):
    bins: str
    ece: _Error | None = None
    slope: Interval | None = None
    intercept: Interval | None = None


class _Shift(BaseModel):
    differences: dict[str, Interval]
    in_the_large: Interval
    prevalence: Interval
    by_answers: Interval | None = None
    by_probabilities: FiniteFloat | None = None
    text: str
    warning: bool


class _Set(BaseModel):
    split: str
    n: int
    groups: int
    group_kind: str
    threshold: float
    model: dict[str, Interval]
    rival: dict[str, Interval] | None = None
    model_minus_rival: Interval | None = None
    leakage: str = ""
    warnings: list[str] = Field(default_factory=list)
    delong: Interval | None = None
    calibration: _Calibration | None = None
    at_prevalence: list[_AtPrevalence] = Field(default_factory=list)
    beside: list[_Beside] = Field(default_factory=list)
    verdicts: list[_Verdict] = Field(default_factory=list)
    subgroups: list[_Subgroup] = Field(default_factory=list)
    worst_subgroups: list[str] = Field(default_factory=list)
    curves: Curves | None = None
    shift: _Shift | None = None


class _Unscored(BaseModel):
    not_scored: str


class _Evaluation(_Set):
    operating_point_rule: str = ""
    external: dict[str, _Set | _Unscored] = Field(default_factory=dict)


def evaluated(folder: Path) -> list[Block]:
    """Scores with what stands beside them; then the external sets, each against the first."""
    found = read_json(folder / "metrics.json", _Evaluation)
    rule = found.operating_point_rule
    facts: list[tuple[str, Cell]] = [
        ("split", found.split),
        *_counted(found),
        ("operating point", plain(found.threshold)),
    ]
    blocks: list[Block] = [Facts(facts), *_warnings(found, found.leakage)]
    if rule:
        blocks.append(Note(f"How the operating point was chosen: {rule}."))
    blocks += _of_one(found, "")
    blocks += _pictures(folder, found)
    for name, one in found.external.items():
        if isinstance(one, _Unscored):
            blocks.append(Note(f"External set {name} is not scored: {one.not_scored}", True))
        else:
            blocks += _of_external(name, one)
    return blocks


def _counted(found: _Set) -> list[tuple[str, Cell]]:
    return [
        ("scans", plain(found.n)),
        ("groups resampled", plain(found.groups)),
        ("a group is a", found.group_kind),
    ]


def _warnings(found: _Set, leakage: str, name: str = "") -> list[Block]:
    # Leakage stands above all else already.
    told = [t for t in found.warnings if (t.partition(": ")[2] or t) not in leakage]
    return [Note(f"{name}: {text}" if name else text, True) for text in told]


def _of_one(found: _Set, name: str) -> list[Block]:
    of = f"External set {name}: " if name else ""
    blocks: list[Block] = []
    if found.model_minus_rival is not None:
        blocks.append(_against(found.model_minus_rival, of))
    blocks.append(_scores(found, of))
    blocks += [Note(f"{of}{one.text}", one.warning) for one in found.verdicts]
    if found.beside:
        blocks.append(_beside(found.beside, of))
    if found.curves is not None:
        blocks += charts(found.curves, of, found.calibration.bins if found.calibration else "")
    if found.subgroups:
        blocks += [Note(f"{of}{text}") for text in found.worst_subgroups]
        blocks.append(_subgroups(found.subgroups, of))
    if found.at_prevalence:
        blocks.append(_at_prevalence(found.at_prevalence, of))
    return blocks


def _against(difference: Interval, of: str) -> Note:
    """By the paired interval alone: whether two intervals overlap says nothing of a difference."""
    told = (
        f"{of}The AUROC of the model minus that of the trivial rival (boosted trees on a thumbnail "
        f"and a histogram), on the same resamples, is {difference.value:+.3f} "
        f"({difference.low:+.3f} to {difference.high:+.3f})"
    )
    if difference.low > 0:
        return Note(f"{told}: the model is better.")
    unclear = "the rival is better" if difference.high < 0 else "not told from 0"
    return Note(
        f"{told}, {unclear}: this result shows nothing beyond brightness and outline.", True
    )


def _scores(found: _Set, of: str) -> Table:
    rival = found.rival or {}
    columns = ["", "Model"] + (["Trivial rival"] if rival else [])
    rows: list[list[Cell]] = []
    for name, interval in found.model.items():
        beside: list[Cell] = [rival[name].estimate() if name in rival else None] if rival else []
        rows.append([MEASURES.get(name, name), interval.estimate(), *beside])
    more: list[tuple[str, Interval | None]] = [("AUROC, interval by DeLong", found.delong)]
    beyond: list[Cell] = [None] if rival else []
    if found.calibration is not None:
        names = ("slope", "intercept")
        more += [(MEASURES[name], getattr(found.calibration, name)) for name in names]
    rows += [[words, one.estimate(), *beyond] for words, one in more if one is not None]
    if found.calibration is not None and found.calibration.ece is not None:
        ece = CalibrationError(**found.calibration.ece.model_dump())
        rows.append([MEASURES["ece"], ece.words, *beyond])
    return Table(f"{of}Scores with 95 % intervals", columns, rows)


def _beside(found: Sequence[_Beside], of: str) -> Table:
    columns = ("", "sees", "scans", "AUROC", "accuracy", "AUROC of the model minus this", "note")
    rows: list[list[Cell]] = [
        [
            _KINDS.get(one.kind, one.kind),
            one.words,
            plain(one.n),
            *(interval.estimate() if interval else None for interval in (one.auroc, one.accuracy)),
            one.difference.estimate() if one.difference else None,
            one.note,
        ]
        for one in found
    ]
    caption = f"{of}Beside the score: trivial models, and the model without their shortcuts"
    return Table(caption, columns, rows)


def _subgroups(found: Sequence[_Subgroup], of: str) -> Table:
    columns = ("column", "value", "scans", "positive", "AUROC", "sensitivity", "specificity",
               "AUROC minus that of the rest", "caution")  # fmt: skip
    rows: list[list[Cell]] = [
        [
            one.column,
            one.value,
            plain(one.n),
            plain(one.positives),
            *(
                one.scores[name].estimate() if name in one.scores else None
                for name in ("auroc", "sensitivity", "specificity")
            ),
            one.from_the_rest.estimate() if one.from_the_rest else None,
            _caution(one),
        ]
        for one in found
    ]
    return Table(f"{of}Subgroups", columns, rows)


def _caution(one: _Subgroup) -> str:
    """In few words: the whole sentences stand in `subgroups.csv`."""
    told = [text for text in one.cautions if text.startswith(("no scan", "all scans"))]
    return "; ".join(told) or ("few groups" if one.small else "")


def _at_prevalence(found: Sequence[_AtPrevalence], of: str) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{one.prevalence:.1%}",
            *(
                interval.estimate() if interval else None
                for interval in (one.ppv, one.npv, one.accuracy)
            ),
        ]
        for one in found
    ]
    return Table(
        f"{of}What an answer means where the disease is as frequent as said",
        ("prevalence", "PPV", "NPV", "accuracy"),
        rows,
        folded=True,
    )


def _of_external(name: str, found: _Set) -> list[Block]:
    blocks: list[Block] = [Facts([("external set", name)]), *_warnings(found, "", name)]
    if found.leakage:
        blocks.append(Note(f"{name}: {found.leakage}", True))
    if found.shift is not None:
        shift = found.shift
        blocks.append(Note(shift.text, shift.warning))
        rows: list[list[Cell]] = [
            [f"{MEASURES[key]}, minus that of the internal set", shift.differences[key].estimate()]
            for key in _COMPARED
            if key in shift.differences
        ]
        rows += [
            ["Mean probability minus share of positives (0 is right)",
             shift.in_the_large.estimate()],
            ["Share of positives, by the labels", shift.prevalence.estimate()],
            ["The same, estimated from the model's answers",
             shift.by_answers.estimate() if shift.by_answers else None],
            ["The same, estimated from its probabilities", plain(shift.by_probabilities)],
        ]  # fmt: skip
        blocks.append(Table(f"External set {name}: what shifts", ("", "there"), rows))
    counted: list[Block] = [Facts([(f"{key}, {name}", value) for key, value in _counted(found)])]
    return [*blocks, *counted, *_of_one(found, name)]


def _pictures(folder: Path, found: _Set) -> list[Block]:
    captions = {"confusion.png": "Counts at the operating point"}
    if found.curves is None:
        captions = {
            "roc.png": "ROC curve",
            **captions,
            "pr.png": "Precision and sensitivity",
            "reliability.png": "Does a probability mean what it says?",
        }
    needed = ("roc.png", "confusion.png")
    shown = [
        read_picture(folder / file, caption, chart=True)
        for file, caption in captions.items()
        if file in needed or (folder / file).is_file()
    ]
    return [Gallery(shown)]
