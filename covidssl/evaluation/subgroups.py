"""How the model does in parts of a set: by any column of the labelled table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.datasets import Dataset, LabelledScan
from covidssl.errors import DataError, UsageError
from covidssl.evaluation.judged import Evaluation
from covidssl.evaluation.scoring import Bootstrap
from covidssl.evaluation.unpaired import difference_of_parts
from covidssl.io import natural_order
from covidssl.metrics import FEW_GROUPS, Estimate, evaluate
from covidssl.metrics.labelled import group_index
from covidssl.metrics.resampling import draws, interval

COLUMNS = (
    "set", "column", "value", "n", "positives", "groups", "measure", "estimate", "low", "high",
    "cautions",
)  # fmt: skip

NOT_GIVEN = "not given"
MOST_VALUES = 20
SHOWN = ("auroc", "accuracy", "sensitivity", "specificity", "ppv", "npv", "brier")
_FEW_VALUES = 5  # numbers with no more values than these are kinds, such as 0 and 1


class Subgroup(NamedTuple):
    """The scans of one value of a column.

    Attributes:
        column, value: which they are.
        n, positives, groups: how many scans, positive ones, and groups that are resampled.
        scores: by name; without those that need the class which is absent.
        from_the_rest: AUROC here minus that of all other scans, on the same draws of groups; None
            where one is not defined.
        cautions: why the numbers should not be taken at face value.
        small: whether a class is held by too few groups for the numbers to be judged.
    """

    column: str
    value: str
    n: int
    positives: int
    groups: int
    scores: dict[str, Estimate]
    from_the_rest: Estimate | None
    cautions: tuple[str, ...]
    small: bool

    def as_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            **self._asdict(),
            "scores": {name: one._asdict() for name, one in self.scores.items()},
            "from_the_rest": self.from_the_rest._asdict() if self.from_the_rest else None,
            "cautions": list(self.cautions),
        }

    def as_rows(self, name: str) -> Iterable[dict[str, Any]]:
        """For `subgroups.csv`: a row a score."""
        known = {field: getattr(self, field) for field in ("column", "value", "n", "positives")}
        scores = dict(self.scores)
        if self.from_the_rest is not None:
            scores["auroc_minus_rest"] = self.from_the_rest
        for measure, one in scores.items():
            yield {
                "set": name,
                **known,
                "groups": self.groups,
                "measure": measure,
                "estimate": round(one.value, 4),
                "low": round(one.low, 4),
                "high": round(one.high, 4),
                "cautions": "; ".join(self.cautions),
            }


def check_columns(dataset: Dataset, columns: Sequence[str]) -> None:
    """Refuse columns that a table lacks, before any scan is read.

    Raises:
        UsageError: when one is unknown or given twice.
    """
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UsageError(f"--by {twice[0]}: is given twice.")
    lacking = [name for name in columns if name not in dataset.columns]
    if lacking:
        found = ", ".join(dataset.columns) or "none"
        raise UsageError(
            f"--by {lacking[0]}: {dataset.name} has no such column to make subgroups of. Further "
            f"columns than path, label, patient and split: {found}. Class folders have none: give "
            f"a CSV."
        )


def check_texts(scans: Sequence[LabelledScan], columns: Sequence[str]) -> None:
    """Refuse columns that name scans rather than groups, before any scan is read.

    Raises:
        DataError: when a column has too many different texts.
    """
    for column in columns:
        _cut(column, [scan.columns.get(column, "") for scan in scans])


def subgroups(judged: Evaluation, columns: Sequence[str], bootstrap: Bootstrap) -> list[Subgroup]:
    """Every value of every column, numbers cut into thirds.

    Args:
        judged: the scans that were scored.
        columns: of the labelled table.
        bootstrap: how intervals are drawn.

    Raises:
        DataError: when a column has so many different texts that it names scans, not groups.
    """
    found = []
    for column in columns:
        values = [one.scan.columns.get(column, "") for one in judged.scans]
        names = np.array(_cut(column, values))
        for value in _ordered(names):
            inside: NDArray[np.bool_] = names == value
            found.append(_one(judged, (column, value), inside, bootstrap))
    return found


def worst(found: Sequence[Subgroup]) -> list[str]:
    """Of each column the subgroup of lowest AUROC, in words; those that are small are passed over.

    Subgroups of scans whose value is not given are passed over too: nobody can act on them.
    """
    sentences = []
    for column in dict.fromkeys(one.column for one in found):
        here = [one for one in found if one.column == column and one.value != NOT_GIVEN]
        judged = [one for one in here if "auroc" in one.scores and not one.small]
        small = len(here) - len(judged)
        passed = f" {small} too small to be judged {'is' if small == 1 else 'are'} passed over."
        if len(judged) < 2:
            sentences.append(
                f"{column}: fewer than two subgroups are large enough to name a worst one."
            )
            continue
        low = min(judged, key=lambda one: one.scores["auroc"].value)
        auroc, rest = low.scores["auroc"], low.from_the_rest
        told = "" if rest is None else f", {rest.value:+.3f} ({rest.low:+.3f} to {rest.high:+.3f})"
        held = rest is not None and rest.high < 0
        sentences.append(
            f"{column}: the worst subgroup is {low.value} ({low.n} scans) with an AUROC of "
            f"{auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f}){told} against the rest, "
            f"{'told from 0' if held else 'not told from 0'}; intervals are not corrected for the "
            f"number of subgroups.{passed if small else ''}"
        )
    return sentences


def _cut(column: str, values: Sequence[str]) -> list[str]:
    """The subgroup of each value: thirds where all are numbers, else the texts themselves."""
    numbers = [_number(text) for text in values if text]
    known = [one for one in numbers if one is not None]
    if known and len(known) == len(numbers) and len(set(known)) > _FEW_VALUES:
        ends = [_last_below(values, end) for end in np.quantile(known, (1 / 3, 2 / 3))]
        return [NOT_GIVEN if not text else _third(float(text), *ends) for text in values]
    kinds = {text for text in values if text}
    if len(kinds) > MOST_VALUES:
        raise DataError(
            f"Column '{column}' has {len(kinds)} different texts in the scans that are scored: "
            f"subgroups need {MOST_VALUES} at most, or numbers, which are cut into thirds. Name a "
            f"coarser column."
        )
    return [text or NOT_GIVEN for text in values]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _last_below(values: Sequence[str], end: float) -> str:
    """The highest value that is not above an end, as it is written; the shortest of equal ones."""
    return max(
        (text for text in values if text and float(text) <= end),
        key=lambda text: (float(text), -len(text), text),
    )


def _third(value: float, low: str, high: str) -> str:
    """A third named by the values that end it, which tell scans apart however close they are."""
    if value <= float(low):
        return f"up to {low}"
    return f"above {low} to {high}" if value <= float(high) else f"above {high}"


def _ordered(names: NDArray[np.str_]) -> list[str]:
    """Values in their order, thirds from low to high, what is not given last."""
    kinds = sorted(set(names.tolist()) - {NOT_GIVEN}, key=_rank)
    return kinds + ([NOT_GIVEN] if (names == NOT_GIVEN).any() else [])


def _rank(name: str) -> tuple[int, object]:
    third = 0 if not name.startswith("above ") else 1 if " to " in name else 2
    return third, natural_order(name)


def _one(
    judged: Evaluation, named: tuple[str, str], inside: NDArray[np.bool_], bootstrap: Bootstrap
) -> Subgroup:
    target, said = judged.target[inside], judged.probability[inside]
    group = np.asarray(judged.group)[inside]
    n, positives, groups = len(target), int(target.sum()), len(np.unique(group))
    scores: dict[str, Estimate] = {}
    cautions: list[str] = []
    if groups < 2:
        cautions.append("all scans are of one group: no interval can be drawn, and none is given")
    elif positives in (0, n):
        absent = judged.classes[1 if positives == 0 else 0]
        name = "specificity" if positives == 0 else "sensitivity"
        scores[name] = _share_right(judged, inside, bootstrap)
        cautions.append(f"no scan of class {absent}: only the {name} is defined")
    else:
        told = evaluate(
            target, said, judged.threshold, group.tolist(), bootstrap.generator(), bootstrap.rounds
        )
        known = told.estimates()
        scores = {name: known[name] for name in SHOWN if name in known}
        cautions += [text.rstrip(".") for text in told.cautions]
    held = min(len(np.unique(group[target == label])) for label in (0, 1))
    rest = difference_of_parts(judged, inside, "auroc", bootstrap)
    return Subgroup(*named, n, positives, groups, scores, rest, tuple(cautions), held < FEW_GROUPS)


def _share_right(judged: Evaluation, inside: NDArray[np.bool_], bootstrap: Bootstrap) -> Estimate:
    """Share of the scans of one class that are called right, groups resampled."""
    called = judged.probability[inside] >= judged.threshold
    right = (called == (judged.target[inside] == 1)).astype(np.float64)
    index, _ = group_index(np.asarray(judged.group)[inside].tolist(), len(right))
    drawn = [
        weights @ right / weights.sum(axis=1)
        for weights in draws(index, bootstrap.generator(), bootstrap.rounds)
    ]
    return interval(float(right.mean()), np.concatenate(drawn))
