"""A card in Markdown, made from the JSON card: what a network is, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidssl.pages import markdown_environment

Card = Mapping[str, Any]

RULES = {
    "mean": "the mean of its slices' logits",
    "top_third": "the mean of the highest third of its slices' logits",
    "attention": "the mean of its slices' logits, each with the weight that the head's attention "
    "gives it (a softmax over the slices looked at)",
    "whole_volume": "the logit of the one volume that it is cut to",
}
"""How a scan's slices become one answer, in words."""


_SCORES = {
    "ap": "AP", "dice": "Dice", "auroc": "AUROC", "ap_over_brightness": "AP over brightness"
}  # fmt: skip


def model_markdown(card: Card, evaluation: Card | None = None) -> str:
    """The model card (`MODEL.md`) of a model folder.

    Args:
        card: what `card.json` says.
        evaluation: what the `metrics.json` of an evaluation says; None where there is none yet.
    """
    rule = RULES[card["aggregation"]["rule"]]
    return _page("model.md.j2", card=card, evaluation=evaluation, rule=rule)


def encoder_markdown(card: Card) -> str:
    """The card of an encoder (`encoder.md`): what it was taught on, and what it may be used for."""
    return _page("encoder.md.j2", card=card)


def lesions_markdown(card: Card, burden_threshold: float) -> str:
    """The card (`MODEL.md`) of a restoration network that is used alone.

    Args:
        card: what `restoration.json` says.
        burden_threshold: network units of the lesion map above which a pixel counts as lesion in
            burden and map.
    """
    measured = card["localised"]
    rows = {} if measured is None else measured["cases"]
    scores = list(dict.fromkeys(name for row in rows.values() for name in row))
    known = {"rows": rows, "scores": scores, "names": _SCORES}
    return _page("lesions.md.j2", card=card, burden_threshold=burden_threshold, **known)


def _page(template: str, **values: object) -> str:
    return markdown_environment().get_template(template).render(**values).rstrip() + "\n"
