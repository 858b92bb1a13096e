"""The verdict in a few sentences: memory told apart from what stays."""

from __future__ import annotations

from collections.abc import Sequence

from covidssl.audit.shortcuts import MEMORY, MODELS, RIVAL, Result
from covidssl.audit.verdict import (
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
    if "memory" in alarms and split and drawn and nearest[0] and nearest[1]:
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
    else:
        said.append(f"On {where} no trivial model tells the class beyond chance.")
    said.append(
        f"A network has shown something where it beats the trivial rival on the same scans: "
        f"accuracy {rival.accuracy.value:.3f}, AUROC {with_interval(rival.auroc)}."
    )
    return " ".join(said)


def _best(of: Evidence, blame: str, split: str) -> Result:
    keys = {model.key for model in MODELS if model.blames == blame}
    tried = (one for one in of.results if one.split == split and one.model in keys)
    return max(tried, key=lambda one: one.auroc.value)
