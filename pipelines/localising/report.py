"""The table and the chart of `docs/localisation.md`, from the records alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from covidssl.errors import DataError
from covidssl.figures.style import PALETTE, QUIET, STYLE, canvas, png
from covidssl.metrics import Estimate
from pipelines.localising.cases import DESIGN_CASES, TEST_CASES
from pipelines.localising.scores import BRIGHTNESS, DENSITY, LESION_MAP, REMOVED
from pipelines.study.documents import Block
from pipelines.study.table_text import difference_text, estimate_text, value_text

RIVALS = "rivals"
CASES = (*DESIGN_CASES[:2], *TEST_CASES)
"""Those with enough marked; case 6 has hardly anything."""

APART = TEST_CASES[1:]
"""Test cases whose patient is no design case's; case 2 (test) looks like case 3 (design)."""

_NOT_MEASURED = "not measured"
_LEAST = (0.6, 0.5)
_LEARNT = {True: "yes", False: "no", None: "not known"}
_CHARTED = (BRIGHTNESS, "density alone", "removal alone", LESION_MAP)


def blocks() -> tuple[Block, ...]:
    """What `docs/localisation.md` says by records."""
    command = "python -m pipelines.localise"
    return (Block(Path("localisation.md"), "localise", _of_all, command),)


def _of_all(records: Path) -> str:
    folder = records / "localise"
    return table(folder) if folder.is_dir() else ""


def table(folder: Path) -> str:
    """Markdown of all records of a folder: measures by case, then means, gains and facts.

    Raises:
        DataError: when there is a record of a network and none of the rivals.
    """
    held = records_in(folder)
    if not held:
        return ""
    rows = _rows(held)
    parts = [
        _measures("AP (95 % interval)", rows, ("ap",)),
        _measures("AUROC (95 % interval)", rows, ("auroc",)),
        _measures("Dice at the threshold fixed beforehand", rows, ("dice",)),
        _measures("Dice at the threshold that the case's labels choose", rows, ("best_dice",)),
        _measures("AP, faint ground glass left out", rows, ("without_faint", "ap")),
        _measures("AP minus brightness's, paired", rows, ("ap_over_brightness",)),
        _cases(held[RIVALS]),
        _facts(held),
        _targets(held),
    ]
    return "\n\n".join(part for part in parts if part)


def records_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The records by name, the rivals' first; none where there is none."""
    files = sorted(folder.glob("*.json"), key=lambda file: (file.stem != RIVALS, file.stem))
    held = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    if held and RIVALS not in held:
        raise DataError(f"{folder}: holds no {RIVALS}.json; run python -m pipelines.localise.")
    return held


def chart(folder: Path) -> bytes:
    """AP by case and score, of the bar and of every network, as PNG."""
    from matplotlib import rc_context

    rows = [(title, score) for title, score in _rows(records_in(folder)) if _is_charted(title)]
    with rc_context(STYLE):
        figure, axes = canvas(8.5, 4.2)
        width = 0.8 / len(rows)
        for number, (title, score) in enumerate(rows):
            found = [_found(score, case, ("ap",)) for case in CASES]
            at = np.arange(len(CASES)) + (number - (len(rows) - 1) / 2) * width
            shown = [(x, one) for x, one in zip(at, found, strict=True) if one is not None]
            x = [place for place, _ in shown]
            y = np.array([one.value for _, one in shown])
            low = y - [one.low for _, one in shown]
            high = [one.high for _, one in shown] - y
            colour = PALETTE[number % len(PALETTE)]
            axes.bar(x, y, width, color=colour, label=title)
            axes.errorbar(x, y, [low.clip(0), high.clip(0)], fmt="none", ecolor=QUIET, lw=1)
        axes.set_xticks(range(len(CASES)), [_case_words(case) for case in CASES])
        axes.set_ylabel("average precision")
        axes.set_ylim(0, 1)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=3)
        return png(figure)


def _is_charted(title: str) -> bool:
    return title.split(": ")[-1] in _CHARTED


def _rows(held: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    for name, one in held.items():
        start = "" if name == RIVALS else f"{name}: "
        rows += [(f"{start}{score}", found) for score, found in one["scores"].items()]
    return rows


def _measures(title: str, rows: list[tuple[str, dict[str, Any]]], keys: tuple[str, ...]) -> str:
    heads = [*(_case_words(case) for case in CASES), f"mean of {_words(TEST_CASES)}"]
    lines = [
        f"**{title}**",
        "",
        f"| score | {' | '.join(heads)} |",
        f"|{'---|' * (len(heads) + 1)}",
    ]
    signed = keys[0] == "ap_over_brightness"
    for name, score in rows:
        found = {case: _found(score, case, keys) for case in CASES}
        if not any(found.values()) or (signed and name == BRIGHTNESS):
            continue
        said = difference_text if signed else estimate_text
        cells = [_NOT_MEASURED if one is None else said(one) for one in found.values()]
        tested = [one.value for case in TEST_CASES if (one := found[case]) is not None]
        whole = len(tested) == len(TEST_CASES)
        mean = value_text(float(np.mean(tested))) if whole else _NOT_MEASURED
        lines.append(f"| {name} | {' | '.join([*cells, mean])} |")
    return "\n".join(lines)


def _found(score: dict[str, Any], case: int, keys: tuple[str, ...]) -> Estimate | None:
    found = score["cases"].get(str(case), {})
    for key in keys:
        found = (found or {}).get(key)
    return Estimate(**found) if found else None


def _cases(rivals: dict[str, Any]) -> str:
    lines = [
        "**The cases**",
        "",
        "| case | lung pixels | marked | faint ground glass, unmarked |",
        "|---|---|---|---|",
    ]
    for case, of in rivals["pixels"].items():
        shares = [100 * of[key] / of["pixels"] for key in ("marked", "faint_unmarked")]
        cells = " | ".join(f"{share:.2f} %" for share in shares)
        lines.append(f"| {_case_words(int(case))} | {of['pixels']} | {cells} |")
    return "\n".join(lines)


def _facts(held: dict[str, dict[str, Any]]) -> str:
    lines = [
        "**The networks**",
        "",
        "| name | pseudo-lesions | seed | steps | minutes | threshold of the lesion map "
        "| set on slices that it learnt from | above it in case 6 | weights |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in held.items():
        if name == RIVALS:
            continue
        facts, normal = one["pretraining"], one["cases"].get("6", {})
        above = normal.get("above_percent")
        cells = [
            name,
            facts["lesions"],
            facts["seed"],
            facts["steps"],
            facts["minutes"],
            value_text(one["threshold"]),
            _LEARNT[facts.get("learnt_from_threshold_slices")],
            _NOT_MEASURED if above is None else f"{above:.2f} %",
            facts["weights_sha256"][:12],
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _targets(held: dict[str, dict[str, Any]]) -> str:
    """Whether lesion maps meet the targets, and what network and density have by themselves.

    Empty before the test was run.
    """
    bar, density = (held[RIVALS]["scores"].get(name) for name in (BRIGHTNESS, DENSITY))
    networks = {name: one["scores"] for name, one in held.items() if name != RIVALS}
    lines = [
        _against(f"{name}, {LESION_MAP}", of[LESION_MAP], bar, TEST_CASES, targets=True)
        for name, of in networks.items()
    ]
    told = {f"{name}, {REMOVED} (the network without density)": of.get(REMOVED)
            for name, of in networks.items()}  # fmt: skip
    told["density alone (no network)"] = density
    lines += [_against(words, of, bar, TEST_CASES) for words, of in told.items() if of]
    told = {f"{name}, {LESION_MAP}": of[LESION_MAP] for name, of in networks.items()} | told
    apart = [_against(words, of, bar, APART) for words, of in told.items() if of]
    parts = []
    if any(lines):
        parts += ["**The targets**", "\n".join(line for line in lines if line)]
    if any(apart):
        parts.append(
            f"Without case 2, which looks like design case 3's patient (cases {_words(APART)}):"
        )
        parts.append("\n".join(line for line in apart if line))
    return "\n\n".join(parts)


def _against(
    words: str,
    score: dict[str, Any],
    bar: dict[str, Any],
    cases: tuple[int, ...],
    targets: bool = False,
) -> str:
    """A score's AP against the bar's, mean AP and mean Dice over cases; empty where one lacks."""
    found = [[_found(of, case, ("ap",)) for case in cases] for of in (score, bar)]
    dice = [_found(score, case, ("dice",)) for case in cases]
    pairs = [(a.value, b.value) for a, b in zip(*found, strict=True) if a and b]
    called = [each.value for each in dice if each]
    if not len(pairs) == len(called) == len(cases):
        return ""
    higher = sum(ours > theirs for ours, theirs in pairs)
    means = float(np.mean([ours for ours, _ in pairs])), float(np.mean(called))
    asked = [f" (target all: {_met(higher == len(pairs))})"] + [
        f" (target {least:.2f}: {_met(mean >= least)})"
        for mean, least in zip(means, _LEAST, strict=True)
    ]
    first, second, third = asked if targets else ("", "", "")
    return (
        f"- {words}: AP above brightness on {higher} of {len(pairs)} cases{first}; mean AP "
        f"{value_text(means[0])}{second}; mean Dice {value_text(means[1])}{third}."
    )


def _met(is_met: bool) -> str:
    return "met" if is_met else "not met"


def _case_words(case: int) -> str:
    return f"{case} (design)" if case in DESIGN_CASES else f"{case} (test)"


def _words(cases: tuple[int, ...]) -> str:
    return ", ".join(map(str, cases))
