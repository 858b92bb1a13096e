"""The split of a fine-tuning: settled once the pictures are read, refused where it leaks."""

from __future__ import annotations

from covidssl.finetuning.opening import Opening
from covidssl.runs import RunFolder
from covidssl.splits import (
    Assigned,
    Prints,
    leakage_in_words,
    refuse_leaks,
    settle,
    write_split_files,
)


def through_the_gate(
    run: RunFolder, opening: Opening, prints: Prints, allowed: bool
) -> tuple[list[Assigned], str]:
    """The split that is trained on, written down; and what leaks through it, in words.

    Raises:
        DataError: for a split that leaks unless that is allowed; the record says how.
    """
    dataset = opening.dataset
    assigned, notes = settle(opening.proposed, prints, allowed, opening.before)
    leakage = leakage_in_words(notes.leaks)
    run.note(
        splits={
            "kind": notes.kind,
            "reason": notes.reason,
            "set_aside": len(notes.set_aside),
            "leakage": leakage,
            "leakage_allowed": notes.leakage_allowed,
        }
    )
    refuse_leaks(dataset, notes.leaks, allowed)
    if run.writes:
        write_split_files(run.path, assigned, dataset, notes)
    return assigned, leakage
