"""What stands beside a score: trivial models, and the model on images without their shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.audit.shortcuts import MODELS
from covidssl.errors import DataError
from covidssl.evaluation.judged import Evaluation
from covidssl.evaluation.scoring import RIVAL_POINT, Bootstrap
from covidssl.evaluation.views import VIEWS
from covidssl.metrics import Estimate, Part, combined, evaluate

COLUMNS = (
    "set", "kind", "key", "words", "n", "auroc", "auroc_low", "auroc_high",
    "accuracy", "accuracy_low", "accuracy_high",
    "model_minus_this", "difference_low", "difference_high", "note",
)  # fmt: skip

CHANCE = 0.5
RIVAL = "rival"


class Verdict(NamedTuple):
    """A sentence on what the rows say; a warning where it speaks against the model."""

    text: str
    warning: bool


_FOREIGN = "such images are foreign to a model that learnt on others, so a loss has two causes"
_NOTHING_TO_KEEP = Verdict(
    "On the images as they are the AUROC is not shown to be above chance, so that there is nothing "
    "that could be kept on altered ones.",
    True,
)


class Row(NamedTuple):
    """One trivial model, or the model on one kind of altered images.

    Attributes:
        kind: `trivial` or `view`.
        key, words: its name in files and for people.
        n: scans that it could be scored on.
        auroc, accuracy: of it; None where they cannot be had.
        plain: AUROC of the model on the same scans as they are.
        difference: AUROC of the model on the scans as they are, minus this, paired.
        note: why something is lacking; empty where nothing is.
    """

    kind: Literal["trivial", "view"]
    key: str
    words: str
    n: int
    auroc: Estimate | None = None
    accuracy: Estimate | None = None
    plain: Estimate | None = None
    difference: Estimate | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            name: one._asdict() if isinstance(one, Estimate) else one
            for name, one in zip(self._fields, self, strict=True)
        }

    def as_row(self, name: str) -> dict[str, Any]:
        """For `views.csv`."""
        ends: dict[str, Any] = {}
        for column, one, first in (
            ("auroc", self.auroc, "auroc"),
            ("accuracy", self.accuracy, "accuracy"),
            ("difference", self.difference, "model_minus_this"),
        ):
            if one is not None:
                ends |= {first: round(one.value, 4), f"{column}_low": round(one.low, 4)}
                ends[f"{column}_high"] = round(one.high, 4)
        known = {"kind": self.kind, "key": self.key, "words": self.words, "n": self.n}
        return {"set": name, **known, **ends, "note": self.note}


def rows_beside(judged: Evaluation, bootstrap: Bootstrap) -> list[Row]:
    """Every trivial model, and every view of the model, on the scans of a set."""
    words = {model.key: model.words for model in MODELS}
    trivial = dict(judged.trivial)
    if judged.rival is not None:
        trivial = {RIVAL: judged.rival, **trivial}
    rows = [
        _row(Row("trivial", key, words[key], 0), judged, said, bootstrap)
        for key, said in trivial.items()
    ]
    names = {view.key: view.words for view in VIEWS}
    rows += [
        _row(Row("view", key, names[key], 0), judged, said, bootstrap)
        for key, said in judged.views.items()
    ]
    return rows


def _row(row: Row, judged: Evaluation, said: NDArray[np.float64], bootstrap: Bootstrap) -> Row:
    kept = np.isfinite(said)
    n, left_out = int(kept.sum()), int((~kept).sum())
    note = f"{left_out} scans without usable lungs are left out" if left_out else ""
    target, group = judged.target[kept], np.asarray(judged.group)[kept].tolist()
    point = RIVAL_POINT if row.kind == "trivial" else judged.threshold
    plain, said = judged.probability[kept], said[kept]
    rounds = bootstrap.rounds
    if len(set(group)) == 1 and n > 1:
        # Told here: the note goes into files, and must not name whom the group is of.
        why = "not scored: all of them belong to one group"
        return row._replace(n=n, note="; ".join(filter(None, (note, why))))
    try:
        here = evaluate(target, said, point, group, bootstrap.generator(), rounds)
        there = evaluate(target, plain, judged.threshold, group, bootstrap.generator(), rounds)
        parts = [Part(plain, judged.threshold, 1), Part(said, point, -1)]
        difference = combined(target, parts, group, bootstrap.generator(), rounds=rounds)
    except DataError as error:
        # Few scans may have usable lungs; the rest of the evaluation holds without them.
        return row._replace(n=n, note="; ".join(filter(None, (note, f"not scored: {error}"))))
    return row._replace(
        n=n,
        auroc=here.auroc,
        accuracy=here.accuracy,
        plain=there.auroc,
        difference=difference,
        note=note,
    )


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """What the rows say, in plain words; nothing of what could not be scored."""
    found = []
    trivial = [row for row in rows if row.kind == "trivial" and row.auroc is not None]
    if len(trivial) > 1:
        found.append(_strongest(trivial))
    views = [row for row in rows if row.kind == "view" and row.auroc is not None]
    by_key = {row.key: row for row in views if row.plain is None or row.plain.low > CHANCE}
    if len(by_key) < len(views):
        found.append(_NOTHING_TO_KEEP)
    for key, words in (
        ("lungs_only", "Without anything outside the lungs"),
        ("ranked", "With each image rank-equalised, so that no window is left,"),
        ("lungs_only_ranked", "Rank-equalised and without anything outside the lungs"),
    ):
        if key in by_key:
            found.append(_kept(by_key[key], words))
    masked = next((row for row in views if row.key == "lungs_masked"), None)
    # A shortcut counts whatever the model does else; chance says something of a good model alone.
    if masked is not None and (masked.key in by_key or not _by_chance(masked)):
        found.append(_masked(masked))
    return found


def _by_chance(row: Row) -> bool:
    """Whether an AUROC is not told from chance."""
    return row.auroc is not None and row.auroc.low <= CHANCE <= row.auroc.high


def _strongest(rows: Sequence[Row]) -> Verdict:
    strongest = max(rows, key=lambda row: row.auroc.value if row.auroc else 0.0)
    if strongest.auroc is None or strongest.difference is None:
        raise ValueError("A row without a score is no rival.")
    difference = strongest.difference
    told = (
        f"The strongest of {len(rows)} trivial models ({strongest.words}; the strongest on these "
        f"very scans, which flatters it) has an AUROC of {_said(strongest.auroc)}; the model's is "
        f"{_beside_it(difference.value)}, the difference is "
        f"{_said(difference, signed=True)}"
    )
    if difference.low > 0:
        return Verdict(f"{told}.", False)
    unclear = "" if difference.high < 0 else " and not told from 0"
    return Verdict(
        f"{told}{unclear}: this AUROC shows nothing beyond what that trivial model sees.",
        True,
    )


def _beside_it(difference: float) -> str:
    return "lower" if difference < 0 else "higher" if difference > 0 else "the same"


def _kept(row: Row, words: str) -> Verdict:
    if row.auroc is None or row.plain is None:
        raise ValueError("A view without a score says nothing.")
    told = (
        f"{words} the AUROC is {_said(row.auroc)}, and {row.plain.value:.3f} on the same scans as "
        f"they are"
    )
    if row.auroc.high < CHANCE:
        return Verdict(
            f"{told}: below chance. What tells the class on such images tells it the other way "
            f"round; {_FOREIGN}.",
            True,
        )
    share = max(0.0, (row.auroc.value - CHANCE) / (row.plain.value - CHANCE))
    lost = row.difference is not None and row.difference.low > 0
    chance = _by_chance(row)
    return Verdict(
        f"{told}: the model keeps {share:.0%} of what its AUROC has above chance"
        + (", and what is left is not told from chance" if chance else "")
        + (f"; what it loses is told from 0 ({_FOREIGN})." if lost else "."),
        lost or chance,
    )


def _masked(row: Row) -> Verdict:
    if row.auroc is None:
        raise ValueError("A view without a score says nothing.")
    told = f"With the lungs masked out, of which their outline stays, it is {_said(row.auroc)}"
    if _by_chance(row):
        return Verdict(
            f"{told}: not told from chance, as it should be of a model that looks at lungs.", False
        )
    if row.auroc.low > CHANCE:
        return Verdict(
            f"{told}: above chance. Something that is no lung tells the class: a shortcut.", True
        )
    return Verdict(f"{told}: below chance, so that the images differ by class without lungs.", True)


def _said(one: Estimate, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{one.value:{sign}.3f} ({one.low:{sign}.3f} to {one.high:{sign}.3f})"
