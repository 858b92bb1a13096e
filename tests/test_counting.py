"""One scan is no scans."""

from __future__ import annotations

import pytest

from covidssl.counting import counted
from covidssl.inference.record import summary


@pytest.mark.parametrize(("number", "said"), [(0, "0 scans"), (1, "1 scan"), (12, "12 scans")])
def test_one_is_called_alone(number: int, said: str) -> None:
    assert counted(number, "scan") == said


def test_several_may_have_a_name_of_their_own() -> None:
    assert [counted(n, "study", "studies") for n in (1, 2)] == ["1 study", "2 studies"]


def test_the_summary_of_one_scan_says_one() -> None:
    counts = {"scans": 1, "ok": 1, "warned": 0, "abstained": 0, "failed": 0, "passed_over": 0}
    assert summary(counts, {})[0].startswith("1 scan: 1 ok")
