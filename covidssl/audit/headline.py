"""The verdict in a few sentences: memory told apart from what stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covidssl.audit.shortcuts import MEMORY, MODELS, RIVAL, Result
from covidssl.audit.telling import too_few
from covidssl.audit.verdict import (
    FALLS,
    Evidence,
    Finding,
    best_apart,
    in_words,
    result_of,
    with_interval,
)

_STAYS = (
    ("window", "window", "brightness and its coarse layout reach an AUROC of"),
    ("scanner", "background", "pixels outside the lungs reach"),
    ("files", "files", "sizes and formats of the files reach"),
    ("anatomy", "anatomy", "shape, level and texture reach"),
)

_CHANCE = 0.5


def headline(of: Evidence, found: Sequence[Finding]) -> str:
    """Memory told apart from what stays, in a few sentences."""
    alarms = {one.code for one in found if one.alarm}
    split = best_apart(of)
    rival = result_of(of.results, RIVAL, split.kind if split else "random")
    if rival is None:
        return "The trivial rival could not be tried."
    said = []
    drawn = result_of(of.results, RIVAL, "random")
    nearest = [result_of(of.results, MEMORY, kind) for kind in ("random", rival.split)]
    falls = any(one.title == FALLS for one in found)
    if falls and split and drawn and nearest[0] and nearest[1]:
        said.append(
            f"What falls is memory: from a random split to {in_words(split)}, the accuracy of "
            f"taking the most similar picture's label falls from "
            f"{nearest[0].accuracy.value:.2f} to {nearest[1].accuracy.value:.2f}, "
            f"and that of the trivial rival from {drawn.accuracy.value:.2f} to "
            f"{rival.accuracy.value:.2f}."
        )
    stays = [
        f"{what} {_best(of, blame, rival.split).auroc.value:.2f}"
        for code, blame, what in _STAYS
        if code in alarms
    ]
    where = in_words(split) if split else "a random split"
    if stays:
        said.append(f"What stays on {where} is window, scanner, or disease: {', '.join(stays)}.")
    elif few := too_few(rival):
        said.append(few)
    else:
        said.append(f"On {where} no trivial model tells the class beyond chance.")
    return " ".join([*said, _bar(of, rival)])


def _bar(of: Evidence, rival: Result) -> str:
    """What a network has to beat: the trivial rival, and what needs no picture at all."""
    target = of.seen.target[np.isfinite(rival.probability)]
    share = float(max(target.mean(), 1 - target.mean()))
    accuracy, auroc = f"{rival.accuracy.value:.3f}", with_interval(rival.auroc)
    if rival.accuracy.value < share:
        accuracy = f"{share:.3f} (the share of the larger class; the rival has {accuracy})"
    if rival.auroc.value < _CHANCE:
        auroc = f"{_CHANCE:.3f} (chance; the rival has {rival.auroc.value:.3f})"
    return (
        f"A network has shown something where it beats the trivial rival and chance on the same "
        f"scans: accuracy {accuracy}, AUROC {auroc}."
    )


def _best(of: Evidence, blame: str, split: str) -> Result:
    keys = {model.key for model in MODELS if model.blames == blame}
    tried = (one for one in of.results if one.split == split and one.model in keys)
    return max(tried, key=lambda one: one.auroc.value)
