"""Which trivial models tell the class beyond chance, when many are tried."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import norm

from covidssl.audit.shortcuts import MODELS, Result
from covidssl.metrics import FEW_GROUPS

_LEAST_AUROC = 0.55
_LEVEL = 0.01


def telling(results: Sequence[Result]) -> list[Result]:
    """The models whose AUROC is beyond chance, and beyond a trifle; the best first.

    Beside its interval, which is narrow where groups are few, an AUROC has to pass Mann and
    Whitney's test, fold by fold with the groups for witnesses, at 1 % for all models together
    (Holm): of eighteen that are tried without a signal, one looks like a finding too often. The
    nearest neighbours, which measure memory, are not among them.

    Args:
        results: of all trivial models under one split.
    """
    memory = {model.key for model in MODELS if model.nearest}
    tried = sorted((one for one in results if one.model not in memory), key=_chance)
    found = []
    for place, one in enumerate(tried):
        if _chance(one) > _LEVEL / (len(tried) - place):
            break
        if one.auroc.low > _LEAST_AUROC:
            found.append(one)
    return found


def too_few(result: Result) -> str:
    """Why a result cannot be judged, as a sentence; empty where it can."""
    least = min(result.groups)
    if least >= FEW_GROUPS:
        return ""
    return (
        f"Too few scans to judge: a class is held by {least} independent "
        f"{'group' if least == 1 else 'groups'} (patients, runs of files, or scans), and "
        f"{FEW_GROUPS} are needed."
    )


def _chance(result: Result) -> float:
    """One-sided p of an AUROC if the model knew nothing."""
    return float(norm.sf((result.auroc.value - 0.5) / result.spread))
