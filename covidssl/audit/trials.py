"""Trivial models trained and applied, fold by fold; what they said is kept in a cache."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as save_arrays
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from covidssl.audit.folds import Folds
from covidssl.each_scan import Progress
from covidssl.files import write_bytes
from covidssl.version import __version__

log = logging.getLogger(__name__)

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]
Said = NDArray[np.float64]

_CACHE = 1  # raise it when the models change


class Trials:
    """What trivial models say of scans that they have not learnt from.

    Args:
        target: (N,) labels, 1 = positive.
        seed: of the trees.
        cache: folder for what they said; None for none.
    """

    def __init__(self, target: Rows, seed: int, cache: Path | None = None) -> None:
        self.target, self.seed, self.cache = target, seed, cache

    def all(
        self,
        features: dict[str, tuple[Floats, bool]],
        all_of: Sequence[Folds],
        progress: Progress,
    ) -> dict[tuple[str, str], Said]:
        """Every model under every split, by their names: (N,) probabilities; NaN: not scored.

        Args:
            features: of each model (N, D), and whether it is the nearest neighbour.
            all_of: the splits.
            progress: shows how far it is.
        """
        todo = [(name, folds) for name in features for folds in all_of]
        file = None
        if self.cache is not None:
            file = self.cache / f"trivial-{self._key(features, all_of)[:24]}.safetensors"
            if (kept := _kept(file)) is not None:
                return {(name, folds.kind): kept[f"{name} {folds.kind}"] for name, folds in todo}
        said = {
            (name, folds.kind): self.one(*features[name], folds)
            for name, folds in progress(todo, "trying trivial models", len(todo))
        }
        if file is not None:
            write_bytes(file, save_arrays({" ".join(key): one for key, one in said.items()}))
        return said

    def one(self, features: Floats, nearest: bool, folds: Folds) -> Said:
        """(N,) probability of each scan from the fold that did not learn from it; NaN: none."""
        said = np.full(len(self.target), np.nan)
        for train, test in folds.pairs:
            # Distances as the numbers are: areas of the thumbnail count for more than bins.
            model = KNeighborsClassifier(1) if nearest else self._trees(len(train))
            model.fit(features[train], self.target[train])
            said[test] = model.predict_proba(features[test])[:, 1]
        return said

    def _trees(self, n: int) -> HistGradientBoostingClassifier:
        # As the trivial rival's: with the usual 20 a leaf few scans could not be split at all.
        leaf = min(20, max(2, n // 20))
        return HistGradientBoostingClassifier(min_samples_leaf=leaf, random_state=self.seed)

    def _key(self, features: dict[str, tuple[Floats, bool]], all_of: Sequence[Folds]) -> str:
        names = [sorted(features), [folds.kind for folds in all_of]]
        digest = hashlib.sha256(json.dumps([__version__, _CACHE, self.seed, names]).encode())
        digest.update(self.target.tobytes())
        for name in sorted(features):
            digest.update(np.ascontiguousarray(features[name][0]).tobytes())
        for folds in all_of:
            for rows in (rows for pair in folds.pairs for rows in pair):
                digest.update(rows.tobytes())
        return digest.hexdigest()


def _kept(file: Path) -> dict[str, Said] | None:
    if not file.is_file():
        return None
    try:
        return dict(load_file(file))
    except (SafetensorError, ValueError):
        log.warning("The cache %s is not readable; it is made again.", file.name)
        return None
