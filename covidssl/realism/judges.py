"""Classifier two-sample test: how well a judge tells pseudo-lesions from real ones.

0.5 says that it cannot. A judge may go by anything, the scan included: hold it against the same
test on patches without a lesion, and against pseudo-lesions drawn into the scans of the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from covidssl.metrics import Estimate
from covidssl.randomness import initial_weights, numpy_generator, torch_generator
from covidssl.realism.descriptors import NAMES, Described
from covidssl.realism.regions import Region
from covidssl.realism.two_sample import CASE_OF_CLUSTER, resample

Folding = Literal["blocks", "cases"]
Floats = NDArray[np.float64]

_FOLDS = 4
_RESAMPLES = 500
_BATCH = 64
_RATE = 2e-3
_CENTRE_HU, _SCALE_HU = -600.0, 300.0


class Examples(NamedTuple):
    """What judges see of N lesions.

    Attributes:
        patches: (N, 48, 48) float32 nominal HU.
        features: (N, F), NaN where a descriptor cannot be measured.
        cluster: (N,) int64 case x block of neighbouring slices.
    """

    patches: NDArray[np.float32]
    features: Floats
    cluster: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> Examples:
        """Some of the lesions."""
        return Examples(self.patches[rows], self.features[rows], self.cluster[rows])

    def joined(self, others: Examples) -> Examples:
        """These, then the others."""
        return Examples(
            np.concatenate([self.patches, others.patches]),
            np.concatenate([self.features, others.features]),
            np.concatenate([self.cluster, others.cluster]),
        )


Judge = Callable[[Examples, NDArray[np.int64], Examples, tuple[int, ...]], Floats]
"""From examples, their targets, other examples and a key to the scores of the latter."""


def examples(found: Sequence[Region], described: Described) -> Examples:
    """Patches and descriptors of the same lesions.

    The place from front to back is left out: pseudo-lesions that keep away from real ones cannot
    be where those are.
    """
    patches = np.stack([region.patch for region in found])
    kept = [NAMES.index(name) for name in NAMES if name != "posterior"]
    return Examples(patches, described.values[:, kept], described.cluster)


def two_sample_auroc(
    real: Examples, pseudo: Examples, judge: Judge, folding: Folding, key: tuple[int, ...]
) -> Estimate | None:
    """AUROC of a judge on lesions of slices that it was not trained on.

    Args:
        real: real lesions.
        pseudo: pseudo-lesions; as many as there are real ones are drawn from them.
        judge: see `net` and `forest`.
        folding: what is held out: blocks of neighbouring slices of every case, or whole cases.
        key: of all generators.

    Returns:
        Area and 95 % interval from resampling clusters of the test side (not the training); only
        pairs judged by the same fit are compared. None when no fold holds both kinds twice.
    """
    rng = numpy_generator(*key, 0)
    if len(pseudo.cluster) > len(real.cluster):
        chosen = rng.choice(len(pseudo.cluster), len(real.cluster), replace=False)
        pseudo = pseudo.take(np.sort(chosen))
    both = real.joined(pseudo)
    target = np.repeat([0, 1], [len(real.cluster), len(pseudo.cluster)]).astype(np.int64)
    fold = folds(both.cluster, target, folding)
    scores = np.full(len(target), np.nan)
    for number in np.unique(fold):
        test = np.flatnonzero(fold == number)
        train = np.flatnonzero(fold != number)
        if min(_rarer(target[train]), _rarer(target[test])) >= 2:
            fit = (both.take(train), target[train], both.take(test))
            scores[test] = judge(*fit, (*key, 1, int(number)))
    judged = np.flatnonzero(np.isfinite(scores))
    if not len(judged):
        return None
    return _with_interval(target[judged], scores[judged], fold[judged], both.cluster[judged], rng)


def folds(
    cluster: NDArray[np.int64], target: NDArray[np.int64], folding: Folding
) -> NDArray[np.int64]:
    """Number of each example's fold, (N,).

    By blocks: the blocks of each case, in order, in four runs of neighbours. By cases: the cases
    that hold real lesions (target 0), one a fold; those of a case with pseudo-lesions alone are
    dealt out by runs of neighbouring blocks.
    """
    case = cluster // CASE_OF_CLUSTER
    fold = np.zeros(len(cluster), dtype=np.int64)
    real_cases = np.unique(case[target == 0])
    for number in np.unique(case):
        own = case == number
        if folding == "cases" and number in real_cases:
            fold[own] = np.searchsorted(real_cases, number)
            continue
        parts = _FOLDS if folding == "blocks" else len(real_cases)
        blocks = np.unique(cluster[own])
        for k, run in enumerate(np.array_split(blocks, parts)):
            fold[own & np.isin(cluster, run)] = k
    return fold


def forest(
    train: Examples,
    target: NDArray[np.int64],
    test: Examples,
    key: tuple[int, ...],
    trees: int = 200,
) -> Floats:
    """A random forest on the descriptors."""
    middle = np.array([_median(column) for column in train.features.T])
    known = [np.where(np.isfinite(e.features), e.features, middle) for e in (train, test)]
    seed = int(np.random.SeedSequence(list(key)).generate_state(1)[0])
    fitted = RandomForestClassifier(
        trees, min_samples_leaf=3, class_weight="balanced", random_state=seed
    ).fit(known[0], target)
    return fitted.predict_proba(known[1])[:, 1]


def net(
    train: Examples,
    target: NDArray[np.int64],
    test: Examples,
    key: tuple[int, ...],
    epochs: int = 25,
) -> Floats:
    """A small convolutional network on the patches, mirrored and turned at random."""
    generator = torch_generator(*key)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with initial_weights(seed):
        network = _network()
    inputs, labels = _inputs(train.patches), torch.from_numpy(target).float()
    weight = (1 - labels.mean()) / labels.mean()
    loss = nn.BCEWithLogitsLoss(pos_weight=weight)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-2)
    steps = epochs * -(-len(inputs) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(_BATCH):
            batch = _turned(inputs[rows], generator)
            optimiser.zero_grad()
            loss(network(batch)[:, 0], labels[rows]).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        given = _inputs(test.patches)
        views = [network(view)[:, 0] for view in (given, given.flip(-1))]
    return torch.stack(views).mean(0).double().numpy()


def _median(column: Floats) -> float:
    known = column[np.isfinite(column)]
    return float(np.median(known)) if len(known) else 0.0


def _network() -> nn.Module:
    def block(inside: int, outside: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

    return nn.Sequential(
        *block(1, 16, 2), *block(16, 32, 2), *block(32, 32, 1), *block(32, 48, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1),
    )  # fmt: skip


def _inputs(patches: NDArray[np.float32]) -> Tensor:
    return (torch.from_numpy(patches)[:, None] - _CENTRE_HU) / _SCALE_HU


def _turned(batch: Tensor, generator: torch.Generator) -> Tensor:
    turns = int(torch.randint(8, (1,), generator=generator))
    turned = torch.rot90(batch, turns % 4, (-2, -1))
    return turned.flip(-1) if turns >= 4 else turned


def _with_interval(
    target: NDArray[np.int64],
    scores: Floats,
    fold: NDArray[np.int64],
    cluster: NDArray[np.int64],
    rng: np.random.Generator,
) -> Estimate:
    drawn = []
    for _ in range(_RESAMPLES):
        # Each kind by itself: a block may hold few of one.
        rows = [np.flatnonzero(target == kind) for kind in (0, 1)]
        picked = np.concatenate([own[resample(cluster[own], rng)] for own in rows])
        drawn.append(_area(target[picked], scores[picked], fold[picked]))
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Estimate(_area(target, scores, fold), float(low), float(high))


def _rarer(target: NDArray[np.int64]) -> int:
    return int(np.bincount(target, minlength=2).min())


def _area(target: NDArray[np.int64], scores: Floats, fold: NDArray[np.int64]) -> float:
    """Share of pairs in the right order, over all pairs within a fold; ties count half."""
    won = pairs = 0.0
    for number in np.unique(fold):
        own = fold == number
        high, low = scores[own & (target == 1)], scores[own & (target == 0)]
        gap = np.sign(high[:, None] - low[None, :])
        won += float(((gap + 1) / 2).sum())
        pairs += gap.size
    return won / pairs if pairs else float("nan")
