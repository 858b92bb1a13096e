"""What a page cannot say, so that nobody reads it off the page."""

from __future__ import annotations

from collections.abc import Set

_ALWAYS = (
    "Intended use is research. covidssl is not a diagnostic device: nothing here was shown to help "
    "a patient, and no finding, treatment or triage may rest on it.",
    "The page says what the files of the runs say. It cannot tell whether their labels are right, "
    "or whether their patients are like those of another hospital.",
)
LESIONS = "predict, lesions alone"
"""The kind of a prediction by a restoration network alone; of any other run it is its verb."""

_OUTCOMES = (
    "“ok” means that nothing odd was noticed, not that the answer is right. “warned” gives the "
    "reason to look twice; “abstained” and “failed” say nothing about disease."
)
_LESION_MAP = (
    "The lesion map is label-free: inside the lungs, what the restoration network takes off "
    "and density above what lung has. Other disease, vessels, contrast and motion can look "
    "alike, and the percentages follow it."
)
_PICTURES = (
    "Pictures here are a few slices, shrunk and compressed. A scan is read in its own viewer."
)
_OF = {
    "evaluate": (
        "Intervals cover only the chance of drawing these patients out of the same source: other "
        "scanners, other protocols and other mixtures of disease can give other scores.",
        "A high score does not say why. Held against the trivial rivals and the views of the model "
        "it becomes clearer, and never certain, that lungs were looked at.",
    ),
    "predict": (
        "A probability is the model's, calibrated on its validation scans. Where disease is rarer "
        "or more frequent than among them it is too high or too low.",
        _OUTCOMES,
        "A range below a probability goes from the lowest to the highest of the members of the "
        "model. It is no confidence interval: what all of them get wrong it does not show.",
        _LESION_MAP,
        "The evidence map shows which pixels move the model's answer, not where disease is.",
        _PICTURES,
    ),
    LESIONS: (
        _OUTCOMES,
        _LESION_MAP,
        "The lesion in the lungs is no calibrated measure. A healthy scan is not at 0, and a low "
        "value does not rule disease out. Values of two models cannot be compared.",
        "Nothing outside the lung mask is seen: a consolidation that the mask leaves out is "
        "neither in the map nor in the percentages.",
        _PICTURES,
    ),
}


def limits_of(kinds: Set[str]) -> tuple[str, ...]:
    """What a page made of runs of these kinds, verbs or `LESIONS`, cannot say; each thing once."""
    said = (limit for kind, limits in _OF.items() if kind in kinds for limit in limits)
    return _ALWAYS + tuple(dict.fromkeys(said))
