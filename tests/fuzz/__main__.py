"""`python -m tests.fuzz`: break files, read them, and say what should not have been."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.good import FORMATS
from tests.fuzz.reading import Case, run
from tests.fuzz.workers import Report, run_all

_SAY_EVERY_S = 30.0


def cases_of(n: int, seed: int, first: int = 0) -> list[Case]:
    """`n` cases, spread evenly over the formats."""
    return [
        Case(seed, FORMATS[number % len(FORMATS)], first + number // len(FORMATS))
        for number in range(n)
    ]


def save(case: Case, folder: Path) -> Path:
    """Write the broken files of a case, to be looked at."""
    into = folder / f"{case.seed}-{case.format}-{case.index}"
    into.mkdir(parents=True, exist_ok=True)
    for name, content in case.files().items():
        (into / name).write_bytes(content)
    return into


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _table(report: Report) -> str:
    kinds = sorted({kind for _, kind in report.counts})
    rows = [f"{'format':16}" + "".join(f"{kind:>10}" for kind in kinds)]
    for format in FORMATS:
        numbers = "".join(f"{report.counts[format, kind]:10}" for kind in kinds)
        rows.append(f"{format:16}{numbers}")
    return "\n".join(rows)


def _fuzz(arguments: argparse.Namespace) -> int:
    start, said, told = time.monotonic(), 0.0, 0
    cases = cases_of(arguments.n, arguments.seed, arguments.first)

    def watch(report: Report) -> None:
        nonlocal said, told
        for case, outcome in report.failures[told:]:
            kept = save(case, arguments.keep)
            _say(f"{outcome.kind}: {case.format}:{case.index} (seed {case.seed}), files in {kept}")
            _say(outcome.detail)
        told = len(report.failures)
        passed = time.monotonic() - start
        if passed - said > _SAY_EVERY_S:
            said = passed
            _say(f"{report.cases} of {len(cases)} cases, {len(report.failures)} failures")

    report = run_all(cases, arguments.workers, watch=watch)
    _say(_table(report))
    _say(f"{report.cases} cases in {time.monotonic() - start:.0f} s, seed {arguments.seed}")
    return 1 if report.failures or report.cases < len(cases) else 0


def _replay(arguments: argparse.Namespace) -> int:
    format, _, index = arguments.replay.partition(":")
    case = Case(arguments.seed, format, int(index))
    outcome = run(case)
    _say(f"{outcome.kind}: {outcome.detail}\nfiles in {save(case, arguments.keep)}")
    return 1 if outcome.failed else 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=200_000, help="how many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("work/fuzz"), help="for broken files")
    parser.add_argument("--replay", help="one case again, as FORMAT:INDEX")
    arguments = parser.parse_args(words)
    return _replay(arguments) if arguments.replay else _fuzz(arguments)


if __name__ == "__main__":
    sys.exit(main())
