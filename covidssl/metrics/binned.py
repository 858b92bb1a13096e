"""Entries put together by their probability, and how far each bin is from what it promises."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.metrics.labelled import Bools, Floats

Binning = Literal["width", "count"]
# Draws of one block of rounds, as in `resampling`.
_BLOCK = 200_000
# Two errors that differ by rounding alone are equal.
_EQUAL = 1e-12


class Bins(NamedTuple):
    """How entries are put together by their probability.

    A bin holds its lower edge and not its upper one; the last holds 1 too.

    Attributes:
        number: of bins.
        by: `width`: equally wide from 0 to 1; `count`: as many entries in each, as far as ties and
            the number of entries allow.
    """

    number: int = 10
    by: Binning = "width"

    def edges(self, probability: Floats) -> Floats:
        """The edges (B + 1,) for probabilities (N,), rising from 0 to 1.

        Raises:
            DataError: when there is no bin.
        """
        if self.number < 1:
            raise DataError(f"{self.number} bins: expected at least 1.")
        # Divided one by one: 3 / 10 is what 0.3 is read as, and 3 * 0.1 is not.
        shares = np.arange(self.number + 1) / self.number
        if self.by == "count" and len(probability):
            shares[1:-1] = np.quantile(probability, shares[1:-1])
        return shares

    def of(self, probability: Floats) -> NDArray[np.intp]:
        """The bin (N,) of each probability in [0, 1], 0..B-1.

        Raises:
            DataError: when there is no bin.
        """
        return np.searchsorted(self.edges(probability)[1:-1], probability, side="right")

    @property
    def words(self) -> str:
        """As it is said beside a number."""
        how = "equal width" if self.by == "width" else "equal count"
        return f"{self.number} bins of {how}"


TEN_BINS = Bins()


class Bin(NamedTuple):
    """The entries of one bin: how many, their mean probability, and their share of positives."""

    n: int
    probability: float
    share: float


class CalibrationError(NamedTuple):
    """An expected calibration error, and what it would be if every probability were right.

    It has no interval: a resample scatters more than the set it is drawn from, so that percentiles
    of resamples lie too high, often wholly above the value.

    Attributes:
        value: mean over the entries of how far the share of positives of their bin is from its mean
            probability. It is never negative, and above 0 by chance alone.
        by_chance: its mean where the labels are drawn from the probabilities themselves.
        as_large: share of such draws with an error as large or larger (the p-value of a perfect
            calibration); small: the probabilities are off.
    """

    value: float
    by_chance: float
    as_large: float

    @property
    def words(self) -> str:
        """The three numbers as a table says them."""
        return f"{self.value:.3f}; {self.against_chance}"

    @property
    def against_chance(self) -> str:
        """What chance alone would give, in words."""
        return (
            f"if calibrated {self.by_chance:.3f} on average, and as large or larger by chance in "
            f"{self.as_large:.1%}"
        )


def in_columns(bin_of: NDArray[np.intp]) -> Floats:
    """(N, B): 1 in the column of each entry's bin, for the bins that hold any."""
    kept, column = np.unique(bin_of, return_inverse=True)
    return np.eye(len(kept))[column]


def calibration_error(
    case: tuple[Bools, Floats],
    index: NDArray[np.intp],
    generator: np.random.Generator,
    bins: Bins,
    rounds: int,
) -> CalibrationError:
    """The error of a set, held against draws of its labels from its probabilities.

    Consistency resampling (J. Broecker and L. A. Smith, Weather and Forecasting 2007), by groups:
    an entry is positive where one number, drawn evenly from 0 to 1 for its whole group, lies below
    its probability. So the labels within a group are as alike as the probabilities allow, as those
    of a patient's scans are; where they are not alike in truth, `as_large` is too high.

    Args:
        case: labels (N,) and probabilities (N,).
        index: (N,) group of each entry, 0..G-1.
        generator: draws the labels.
        bins: how entries are put together.
        rounds: of the draws.
    """
    labels, scores = case
    columns = in_columns(bins.of(scores))

    def error(drawn: Bools) -> Floats:
        return np.asarray(np.abs((drawn - scores) @ columns).sum(axis=1) / len(scores))

    value = float(error(labels[None])[0])
    groups = int(index.max()) + 1
    size = max(1, _BLOCK // len(scores))
    drawn = np.concatenate(
        [
            error(generator.random((min(size, rounds - start), groups))[:, index] < scores)
            for start in range(0, rounds, size)
        ]
    )
    as_large = 1 + int(np.count_nonzero(drawn >= value - _EQUAL))
    return CalibrationError(value, float(drawn.mean()), as_large / (rounds + 1))
