"""Made-up evaluations, of which it is known how good the model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from covidssl.datasets import LabelledScan
from covidssl.evaluation import Evaluation
from covidssl.evaluation.scoring import Bootstrap
from covidssl.io import ScanFiles
from covidssl.randomness import numpy_generator
from covidssl.splits import Assigned

BOOTSTRAP = Bootstrap(0, 200)
CLASSES = ("normal", "COVID")


def judged_of(
    target: NDArray[np.int64],
    logit: NDArray[np.float64],
    columns: Sequence[Mapping[str, str]] | None = None,
    split: str = "test",
) -> Evaluation:
    """An evaluation of a calibrated model; every scan is of a patient of its own."""
    scans = tuple(
        Assigned(
            LabelledScan(
                f"{k:03}.png",
                ScanFiles(f"{k:03}.png", "picture", (Path(f"{k:03}.png"),)),
                bool(positive),
                columns=columns[k] if columns else {},
            ),
            f"patient {k:03}",
            split,
        )
        for k, positive in enumerate(target)
    )
    return Evaluation(scans, target, logit, expit(logit), None, 0.5, CLASSES)


def drawn(n: int = 200, shift: float = 2.0, seed: int = 0, share: float = 0.5) -> Evaluation:
    """Logits of two normal distributions that lie `shift` apart; calibrated at equal shares."""
    generator = numpy_generator(seed, 7)
    target = (np.arange(n) < round(share * n)).astype(np.int64)
    logit = shift * (generator.normal(0, 1, n) + shift * (target - 0.5))
    return judged_of(target, logit)


def noise(n: int, seed: int = 0) -> NDArray[np.float64]:
    """Probabilities that know nothing."""
    return numpy_generator(seed, 8).random(n)


def with_columns(judged: Evaluation, column: str, values: Sequence[str]) -> Evaluation:
    """The same scans with a column of the table."""
    scans = tuple(
        replace(one, scan=replace(one.scan, columns={column: value}))
        for one, value in zip(judged.scans, values, strict=True)
    )
    return replace(judged, scans=scans)
