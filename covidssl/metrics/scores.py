"""All scores of one classifier on one labelled set, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from covidssl.metrics.labelled import Bools, Floats, checked, group_index
from covidssl.metrics.measures import NAMES, Case, Measures, case
from covidssl.metrics.prevalence import AtPoint
from covidssl.metrics.resampling import ROUNDS, Estimate, resample

FEW_GROUPS = 10
"""Groups of a class below which no interval is to be trusted."""
FEW_FOR_SHARES = 30
"""Groups below which the interval of a share (sensitivity, PPV) covers less than it says."""
_MANY_UNDEFINED = 0.05


@dataclass(frozen=True)
class Scores:
    """The scores of one classifier on one labelled set.

    Attributes:
        accuracy, balanced_accuracy, sensitivity, specificity, f1, mcc: at the operating point; a
            probability at or above the threshold is called positive. Balanced accuracy is the mean
            of sensitivity and specificity; Matthews' correlation (mcc) is 0 where all entries are
            called the same.
        ppv, npv: share of the entries called positive that are, and of those called negative that
            are not, in this set; `estimates` gives them at another prevalence. NaN where no entry
            is called so.
        auroc, auprc: over all thresholds; AUPRC is the average precision, without interpolation.
        brier: mean squared difference of probability and label; 0 is best.
        groups: how many groups were resampled.
        skipped: rounds left out of the intervals because a class was missing in them.
        cautions: why the intervals should not be taken at face value, in plain words.
        at_point: what the predictive values are computed from.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    mcc: Estimate
    auroc: Estimate
    auprc: Estimate
    brier: Estimate
    groups: int
    skipped: int
    cautions: tuple[str, ...] = ()
    at_point: AtPoint = field(
        default_factory=lambda: AtPoint(np.empty((0, 3))), repr=False, compare=False
    )

    def estimates(self, prevalence: float | None = None) -> dict[str, Estimate]:
        """All estimates by name, those left out that are undefined in this set.

        Args:
            prevalence: share of positives that PPV and NPV shall hold for; None: this set's own.

        Raises:
            DataError: when the prevalence is not above 0 and below 1.
        """
        found: dict[str, Estimate] = {name: getattr(self, name) for name in NAMES}
        if prevalence is not None:
            found |= self.at_point.predictive(prevalence)._asdict()
        return {name: one for name, one in found.items() if not np.isnan(one.value)}

    def as_json(self, prevalence: float | None = None) -> dict[str, dict[str, float]]:
        """`estimates` by name, each as {"value", "low", "high"}, for a JSON file."""
        found = self.estimates(prevalence)
        return {name: estimate._asdict() for name, estimate in found.items()}


def evaluate(
    target: NDArray[np.integer],
    probability: NDArray[np.floating],
    threshold: float,
    group: Sequence[str] | None,
    generator: np.random.Generator,
    rounds: int = ROUNDS,
) -> Scores:
    """All scores of one classifier, with intervals.

    Args:
        target: (N,) labels, 1 = positive, 0 = negative.
        probability: (N,) probability of the positive class, in [0, 1].
        threshold: a probability at or above it is called positive.
        group: (N,) the group of each entry; None: every entry stands for itself.
        generator: draws the groups.
        rounds: how often the set is resampled.

    Raises:
        DataError: when lengths differ, a value is not finite or out of range, the threshold is NaN,
            a class is absent, or there is one group only, so that nothing can be resampled.
    """
    labels, scores = checked(target, probability)
    index, groups = group_index(group, len(labels))
    judged = case(labels, scores, threshold)
    measures = Measures(judged)
    share = labels.astype(np.float64)

    def measure(weights: Floats) -> Floats:
        shares = weights @ share / weights.sum(axis=1)
        return np.column_stack((measures(weights), shares))

    found = resample(measure, labels, index, generator, rounds)
    # The last column is no score but the share of positives.
    estimates: dict[str, Estimate] = dict(zip(NAMES, found.estimates(), strict=False))
    rows = np.vstack((found.value, found.drawn))
    columns = [NAMES.index("sensitivity"), NAMES.index("specificity"), -1]
    return Scores(
        **estimates,
        groups=groups,
        skipped=found.skipped,
        cautions=tuple(
            [
                *group_cautions(labels, index),
                *_of_shares(judged, index),
                *_of_estimates(estimates, found.drawn),
            ]
        ),
        at_point=AtPoint(rows[:, columns]),
    )


def group_cautions(labels: Bools, index: NDArray[np.intp]) -> list[str]:
    """Which class is held by too few groups for intervals that resample them, in words."""
    cautions = []
    for name, members in (("positive", index[labels]), ("negative", index[~labels])):
        groups = len(np.unique(members))
        if groups < FEW_GROUPS:
            cautions.append(
                f"Only {groups} groups hold the {name} class: the intervals are likely too narrow."
            )
    return cautions


def _of_shares(judged: Case, index: NDArray[np.intp]) -> list[str]:
    """Which shares at the operating point rest on few groups, in one sentence."""
    among = {
        "sensitivity": judged.labels,
        "specificity": ~judged.labels,
        "PPV": judged.called,
        "NPV": ~judged.called,
    }
    groups = {name: len(np.unique(index[members])) for name, members in among.items()}
    few = [f"{name} ({n})" for name, n in groups.items() if 0 < n < FEW_FOR_SHARES]
    if not few:
        return []
    return [
        f"Fewer than {FEW_FOR_SHARES} groups stand behind {', '.join(few)}: such an interval holds "
        f"the true share less often than in 95 %."
    ]


def _of_estimates(estimates: dict[str, Estimate], drawn: Floats) -> list[str]:
    cautions = []
    flat = [name for name, e in estimates.items() if e.low == e.high]
    if flat:
        cautions.append(
            f"No width in the interval of {', '.join(flat)}: resampling cannot show errors that "
            f"did not happen in this set."
        )
    for name, what in (("ppv", "positive"), ("npv", "negative")):
        undefined = float(np.isnan(drawn[:, NAMES.index(name)]).mean())
        if np.isnan(estimates[name].value):
            cautions.append(f"No {name.upper()}: at this threshold no entry is called {what}.")
        elif undefined > _MANY_UNDEFINED:
            cautions.append(
                f"In {undefined:.0%} of the resamples no entry is called {what}, and they are left "
                f"out of the interval of {name.upper()}: it is likely too narrow."
            )
    return cautions
