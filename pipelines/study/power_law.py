"""How an error falls with an amount: power laws, plain, with a floor, and broken once.

Fitted to 1 - AUROC over labels, slices or steps. A broken law has another exponent beyond a break
(Caballero et al., *Broken Neural Scaling Laws*, ICLR 2023); of theirs one break is taken, of fixed
sharpness and without a floor, since there are few points.

Every law is linear in its coefficients once its exponents are given, so the exponents are searched
on a grid: the same numbers on every machine, and all resamples at once. What is least is the sum of
squared relative errors, which for small ones are the errors of the logarithm that the paper takes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np

from covidssl.metrics import Estimate
from covidssl.metrics.resampling import interval
from pipelines.study.curves import Curve, Floats

_EXPONENTS = np.linspace(0.0, 2.0, 81)
_FLOORED = np.linspace(0.025, 2.0, 80)
_BROKEN = np.linspace(0.0, 1.5, 16)
_BREAKS = 5
_SHARPNESS = 0.25
_DIGITS = 12
_ORIGINS = 2

Shapes = Callable[[Floats, Floats], Floats]
"""Of amounts (P,), and those that are fitted on: the laws of a grid with coefficient 1, (E, P)."""


class Law(NamedTuple):
    """A family of laws.

    Attributes:
        name: in tables.
        parameters: how many are fitted.
        shapes: its grid.
        floored: whether a constant is added.
    """

    name: str
    parameters: int
    shapes: Shapes
    floored: bool = False


class Prediction(NamedTuple):
    """What the points before the last say of the last one.

    Attributes:
        law: the name of the law that was chosen without it.
        said: the AUROC that was predicted.
        found: the AUROC that it is.
        error: found minus said, on the same resamples.
    """

    law: str
    said: Estimate
    found: Estimate
    error: Estimate


def _plain(amount: Floats, fitted: Floats) -> Floats:
    return _falling(_EXPONENTS, amount / fitted[0])


def _floored(amount: Floats, fitted: Floats) -> Floats:
    return _falling(_FLOORED, amount / fitted[0])


def _falling(exponents: Floats, amount: Floats) -> Floats:
    found: Floats = amount[None] ** -exponents[:, None]
    return found


def _broken(amount: Floats, fitted: Floats) -> Floats:
    breaks = np.geomspace(fitted[0], fitted[-1], _BREAKS + 2)[1:-1]
    grid = np.array(list(product(_BROKEN, _BROKEN, breaks)))
    before, after, at = grid.T[:, :, None]
    bend = (1 + (amount / at) ** (1 / _SHARPNESS)) ** (-(after - before) * _SHARPNESS)
    found: Floats = (amount / fitted[0]) ** -before * bend
    return found


LAWS = (
    Law("power law", 2, _plain),
    Law("power law with a floor", 3, _floored, floored=True),
    Law("broken power law", 4, _broken),
)
"""From the simplest; of equals the first is taken."""


def predict_last(curve: Curve) -> Prediction | None:
    """Predict the last point of a curve from those before; None with fewer than 3 points.

    The law is chosen by how well it predicts the last points of those *before* the last from the
    ones before them, by the set itself and by each resample for itself; the last point has no say
    in it. Of few points only laws with fewer parameters than points can be told apart.
    """
    if len(curve.amount) < 3:
        return None
    error = 1 - np.concatenate((curve.value[None], curve.drawn))
    error = np.maximum(error[np.isfinite(error).all(axis=1)], 1e-4)
    chosen, said = extrapolated(curve.amount[:-1], error[:, :-1], curve.amount[-1])
    found = 1 - error[:, -1]
    return Prediction(
        law=LAWS[chosen[0]].name,
        said=_estimate(1 - said),
        found=_estimate(found),
        error=_estimate(found - (1 - said)),
    )


def next_point(curve: Curve, amount: float) -> Prediction | None:
    """What all points say of an amount beyond them; None with fewer than 2 points.

    `found` and `error` are NaN: nobody has looked.
    """
    if len(curve.amount) < 2:
        return None
    error = 1 - np.concatenate((curve.value[None], curve.drawn))
    error = np.maximum(error[np.isfinite(error).all(axis=1)], 1e-4)
    chosen, said = extrapolated(curve.amount, error, amount)
    unknown = Estimate(np.nan, np.nan, np.nan)
    return Prediction(LAWS[chosen[0]].name, _estimate(1 - said), unknown, unknown)


def extrapolated(amount: Floats, error: Floats, at: float) -> tuple[np.ndarray, Floats]:
    """Which law is chosen, by its place in `LAWS`, and what it says of `at`, (R,) each.

    Args:
        amount: (P,) rising.
        error: (R, P) above 0, of the set itself and its resamples.
        at: the amount that is asked for.
    """
    points = len(amount)
    # A law that fits any points whatever says nothing of the next one.
    able = [law for law in LAWS if law.parameters <= max(2, points - 1)]
    origins = range(max(able[-1].parameters, points - _ORIGINS), points)
    losses = np.zeros((len(able), len(error)))
    for place, law in enumerate(able):
        for origin in origins:
            said = fitted(law, amount[:origin], error[:, :origin], amount[origin])
            losses[place] += np.log(said / error[:, origin]) ** 2
    chosen = np.round(losses, _DIGITS).argmin(axis=0)
    every = np.stack([fitted(law, amount, error, at) for law in able])
    return chosen, every[chosen, np.arange(len(error))]


def fitted(law: Law, amount: Floats, error: Floats, at: float) -> Floats:
    """What a law says of `at`, fitted to errors (R, P) at amounts (P,): (R,)."""
    shapes = law.shapes(amount, amount)
    weight = error**-2.0
    squares = weight @ (shapes**2).T
    products = (weight * error) @ shapes.T
    floor = np.zeros_like(products)
    scale = products / squares
    if law.floored:
        floor, scale = _with_floor(shapes, error, squares, products)
    loss = -2 * scale * products + scale**2 * squares
    if law.floored:
        cross = weight @ shapes.T
        loss += floor**2 * weight.sum(1)[:, None] - 2 * floor * (weight * error).sum(1)[:, None]
        loss += 2 * floor * scale * cross
    best = np.round(loss, _DIGITS).argmin(axis=1)
    rows = np.arange(len(error))
    asked = law.shapes(np.array([at]), amount)[best, 0]
    said: Floats = floor[rows, best] + scale[rows, best] * asked
    return said


def _with_floor(
    shapes: Floats, error: Floats, squares: Floats, products: Floats
) -> tuple[Floats, Floats]:
    """Floor and scale of least loss, neither below 0, (R, E) each."""
    weight = error**-2.0
    total, cross = weight.sum(1)[:, None], weight @ shapes.T
    constant = (weight * error).sum(1)[:, None]
    determinant = total * squares - cross**2
    floor = (constant * squares - products * cross) / determinant
    scale = (products * total - constant * cross) / determinant
    below, rising = floor < 0, scale < 0
    floor = np.where(below, 0.0, np.where(rising, constant / total, floor))
    scale = np.where(below, products / squares, np.where(rising, 0.0, scale))
    return floor, scale


def _estimate(values: Floats) -> Estimate:
    """The first value with the interval of the others."""
    return interval(float(values[0]), values[1:])
