"""What an audit found, in plain words: every sentence is made from the numbers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import chi2_contingency

from covidssl.audit.facts import Facts, Pair, by_place, of_one_patient
from covidssl.audit.folds import WORDS, Folds, apart
from covidssl.audit.seen import Seen
from covidssl.audit.shortcuts import MEMORY, MODELS, RIVAL, Result, fall
from covidssl.audit.telling import telling, too_few
from covidssl.datasets import Dataset
from covidssl.duplicates import HASH_BYTES, MOST_BITS
from covidssl.experiments import AuditConfig
from covidssl.file_order import OrderEffect
from covidssl.metrics import Estimate

_LEAST_FALL = 0.02
_LISTED = 3
FALLS, TOO_FEW = "A random split measures memory", "too few scans to judge"
_KINDS_DIFFER, _LEVEL = 0.05, 0.02
_WORDS = {model.key: model.words for model in MODELS}


class Finding(NamedTuple):
    """One thing that an audit found.

    Attributes:
        code: one word, for tables.
        alarm: whether a score on this dataset has to answer for it.
        title: in a few words.
        text: in a few sentences, with the numbers.
        standing: of what is no alarm: `clear`; `noted`, it is there, but there is nothing to answer
            for; `open`, there are too few scans to judge it.
    """

    code: str
    alarm: bool
    title: str
    text: str
    standing: Literal["clear", "noted", "open"] = "clear"

    def as_json(self) -> dict[str, object]:
        """The finding for `audit.json`."""
        return self._asdict() | ({"standing": "alarm"} if self.alarm else {})


class Evidence(NamedTuple):
    """What a verdict is made from: what was found by counting, by order and by trying."""

    dataset: Dataset
    seen: Seen
    facts: Facts
    orders: dict[str, OrderEffect]
    folds: Sequence[Folds]
    groups: Sequence[str]
    results: Sequence[Result]


def findings(of: Evidence, config: AuditConfig) -> list[Finding]:
    """Everything that was found; what is no alarm says that it was looked for."""
    return [
        *_unreadable(of),
        *_duplicates(of),
        *_leaks(of),
        *_kinds(of),
        *_orders(of),
        *_memory(of, config),
        *_shortcuts(of),
    ]


def best_apart(of: Evidence) -> Folds | None:
    """The split under which a model has to prove itself."""
    carries = any(effect.carries_patients for effect in of.orders.values())
    return apart(of.folds, carries, [split for split, found in of.facts.leaks.items() if found])


def result_of(results: Sequence[Result], model: str, split: str) -> Result | None:
    """A model's result under a split, where it was tried."""
    return next((one for one in results if (one.model, one.split) == (model, split)), None)


def _unreadable(of: Evidence) -> Iterator[Finding]:
    total, dropped = len(of.dataset.scans), of.facts.dropped
    if not dropped:
        yield Finding("unreadable", False, "All files can be read", f"{total} scans were read.")
        return
    name, reason = dropped[0]
    yield Finding(
        "unreadable",
        True,
        "Some files cannot be read",
        f"{len(dropped)} of {total} scans cannot be read; they are listed in dropped.csv. "
        f"First: {name}: {reason.removeprefix(f'{name}: ')}",
    )


def _duplicates(of: Evidence) -> Iterator[Finding]:
    near = f"hashes differ in at most {MOST_BITS} of {8 * HASH_BYTES} bits"
    for code, what, pairs in (
        ("equal", "the same voxels", of.facts.equal),
        ("near", f"nearly the same picture ({near})", of.facts.near),
    ):
        place = by_place(pairs, of.seen.target, of.dataset.classes)
        text = f"{len(pairs)} pair{'s' * (len(pairs) != 1)} of scans with {what}: {place}."
        if not pairs:
            none = {"equal": "No scan is there twice", "near": "No near duplicates"}[code]
            yield Finding(code, False, none, text)
            continue
        beyond = [pair for pair in pairs if not of_one_patient(pair, of.seen)]
        within = len(pairs) - len(beyond)
        if within:
            text += (
                f" {within} of them within one patient, which a split by patient keeps together."
            )
        title = {"equal": "Scans that are there twice", "near": "Near duplicates"}[code]
        yield Finding(
            code,
            bool(beyond),
            title if beyond else f"{title}, within patients",
            f"{text} First: {_names((beyond or pairs)[0], of.seen)}.",
            "noted",
        )


def _names(pair: Pair, seen: Seen) -> str:
    return f"{seen.scans[pair.first].name} and {seen.scans[pair.second].name}"


def _leaks(of: Evidence) -> Iterator[Finding]:
    for split, found in of.facts.leaks.items():
        words = {"given": "The set's own splits leak", "file": "The split file leaks"}[split]
        for leak in found:
            yield Finding(f"{split}_{leak.kind}", True, words, f"{leak.text}.")
        if not found:
            yield Finding(
                f"{split}_leaks",
                False,
                {"given": "The set's own splits", "file": "The split file"}[split],
                "No duplicate and no known patient stands on two sides of it.",
            )


def _kinds(of: Evidence) -> Iterator[Finding]:
    kinds = of.facts.kinds
    words = sorted({word for found in kinds.values() for word in found})
    counts = np.array([[kinds[name].get(word, 0) for word in words] for name in kinds])
    listed = "; ".join(
        f"{name}: " + ", ".join(f"{n} {word}" for word, n in found.items())
        for name, found in kinds.items()
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    differ = float(np.abs(shares[0] - shares[1]).max())
    p = float(chi2_contingency(counts).pvalue) if len(words) > 1 else 1.0
    alarm = differ >= _KINDS_DIFFER and p <= _LEVEL
    yield Finding(
        "kinds",
        alarm,
        "File format or colour mode tells the class" if alarm else "File formats",
        f"Format and colour mode by class: {listed}."
        + (
            " Whatever reads the files must make them alike, or it learns this; covidssl's reader "
            "makes all of them grey."
            if alarm
            else ""
        ),
    )


def _orders(of: Evidence) -> Iterator[Finding]:
    for by, effect in of.orders.items():
        text = f"By {by}, {effect}."
        if not effect.carries_patients:
            text += " File order tells nothing beyond chance."
            yield Finding(f"order_{by.split()[0]}", False, "File order", text)
            continue
        text += (
            f" Half of the nearest neighbours stand at most {effect.median_distance:.0f} place"
            f"{'s' * (effect.median_distance != 1)} off ({effect.median_by_chance:.0f} by chance), "
            f"and likeness has faded after {effect.reach} places."
        )
        known = not of.facts.without_patient
        text += (
            " Patients are known for all scans: split by patient."
            if known
            else " A random split puts neighbours on both sides. Split by contiguous blocks, with "
            f"a gap of {effect.gap} at each border."
        )
        code = f"order_{by.split()[0]}"
        yield Finding(code, not known, "File order carries patients", text, "noted")


def _memory(of: Evidence, config: AuditConfig) -> Iterator[Finding]:
    split = best_apart(of)
    if split is None:
        return
    random, kept = (result_of(of.results, MEMORY, kind) for kind in ("random", split.kind))
    if random is None or kept is None or random is kept:
        return
    lost = fall(of.seen, random, kept, of.groups, config)
    before, after = with_interval(random.accuracy), with_interval(kept.accuracy)
    text = (
        f"Who takes the label of the most similar picture is right in {before} of cases on a "
        f"random split, and in {after} on {in_words(split)}. The difference, "
        f"{with_interval(lost)}, is memory: of the same patient, not of the class."
    )
    rivals = [result_of(of.results, RIVAL, kind) for kind in ("random", split.kind)]
    if rivals[0] and rivals[1]:
        text += (
            f" The trivial rival falls from {_pair(rivals[0])} to {_pair(rivals[1])} (accuracy, "
            f"AUROC)."
        )
    few, falls = too_few(kept), lost.low > _LEAST_FALL
    if few or not falls:
        text = (
            f"The label of the most similar picture is right in {before} of cases on a random "
            f"split and in {after} on {in_words(split)}"
        )
        text = f"{few} {text}." if few else f"{text}: no difference beyond chance."
        yield Finding(
            "memory",
            False,
            f"Memory: {TOO_FEW}" if few else "Memory",
            text,
            "open" if few else "clear",
        )
        return
    known = not of.facts.without_patient
    if known:
        text += " Patients are known for all scans: split by patient, and it is gone."
    yield Finding("memory", not known, FALLS, text, "noted")


_BLAMES = {
    "files": ("files", "The files tell the class", "The files do not tell the class"),
    "background": (
        "scanner",
        "What lies outside the lungs tells the class",
        "What lies outside the lungs does not tell the class",
    ),
    "window": ("window", "Brightness tells the class", "Brightness does not tell the class"),
    "anatomy": (
        "anatomy",
        "Shape and level tell the class",
        "Shape and level do not tell the class",
    ),
}
_SUBJECTS = {
    "files": "The files",
    "background": "What lies outside the lungs",
    "window": "Brightness",
    "anatomy": "Shape and level",
}
_MEANS = {
    "files": "Sizes and formats are made by whoever collected the files.",
    "background": "No lung is in these pixels: scanner, field of view, table, or body differ with "
    "the class, or the mask leaves dense disease out.",
    "window": "Window, scanner, or disease: a model that reaches no more than this has shown "
    "nothing about disease.",
    "anatomy": "No window is left in these: level of the slice, breathing, patients, or disease "
    "differ with the class.",
}


def _shortcuts(of: Evidence) -> Iterator[Finding]:
    split = best_apart(of)
    kind = split.kind if split else "random"
    tried = [one for one in of.results if one.split == kind]
    named = in_words(split) if split else "a random split"
    tell = telling(tried)
    for blame, (code, title, otherwise) in _BLAMES.items():
        keys = [model.key for model in MODELS if model.blames == blame]
        found = sorted(
            (one for one in tried if one.model in keys), key=lambda one: -one.auroc.value
        )
        guilty = [one for one in tell if one.model in keys]
        if found and (few := too_few(found[0])):
            highest = f"{_WORDS[found[0].model]}, {with_interval(found[0].auroc)}"
            text = f"{few} On {named}, the highest AUROC of such models is that of {highest}."
            yield Finding(code, False, f"{_SUBJECTS[blame]}: {TOO_FEW}", text, "open")
        elif guilty:
            listed = "; ".join(f"{_WORDS[one.model]} {_pair(one)}" for one in guilty[:_LISTED])
            more = f", and {len(guilty) - _LISTED} more" if len(guilty) > _LISTED else ""
            text = f"On {named} (accuracy / AUROC): {listed}{more}. {_MEANS[blame]}"
            yield Finding(code, True, title, text)
        elif found:
            best = found[0]
            text = (
                f"On {named}, the best of such models, {_WORDS[best.model]}, has an "
                f"AUROC of {with_interval(best.auroc)}: no more than chance explains, or hardly "
                f"more."
            )
            yield Finding(code, False, otherwise, text)


def in_words(split: Folds) -> str:
    """A split that keeps patients apart, after the word `on`."""
    return {
        "blocked": "blocks of the file order",
        "patient": "a split by patient",
        "given": "the set's own splits",
        "file": "the split file",
    }.get(split.kind, WORDS[split.kind])


def _pair(result: Result) -> str:
    return f"{result.accuracy.value:.3f} / {result.auroc.value:.3f}"


def with_interval(estimate: Estimate) -> str:
    """An estimate with its interval, as a person writes it."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
