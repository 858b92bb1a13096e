from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import UsageError
from covidssl.realism.cases import read_case, without_lesions
from tests.realism.chests import PIXEL_MM, write_cases


@pytest.fixture(scope="module")
def medseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("data")) / "medseg-9"


@pytest.mark.parametrize("case", [2, 4, 7])
def test_a_test_case_is_refused(medseg: Path, case: int) -> None:
    with pytest.raises(UsageError, match="kept for tests"):
        read_case(medseg, case)


@pytest.mark.parametrize("case", [1, 3, 6])
def test_a_case_comes_in_nominal_hu_and_mm(medseg: Path, case: int) -> None:
    stack = read_case(medseg, case)
    assert stack.pixel_mm == pytest.approx(PIXEL_MM)
    assert abs(np.median(stack.hu[stack.lungs & ~stack.lesions]) + 850) < 15
    assert stack.hu.shape == stack.lungs.shape == stack.lesions.shape
    assert set(stack.cluster // 100) == {case}


@pytest.mark.parametrize("case", [1, 3])
def test_levels_run_from_the_small_apex_to_the_wide_base(medseg: Path, case: int) -> None:
    stack = read_case(medseg, case)
    area = stack.lungs.sum((1, 2))
    assert np.corrcoef(stack.level, area)[0, 1] > 0.9


def test_slices_with_a_mark_are_not_normal(medseg: Path) -> None:
    stack = read_case(medseg, 3)
    normal = without_lesions(stack)
    assert 0 < len(normal.hu) < len(stack.hu)
    assert not normal.lesions.any()


@pytest.mark.realdata
def test_the_real_design_cases_are_read(real_data: Path) -> None:
    stack = read_case(real_data / "medseg-9", 1)
    assert stack.lesions.any()
    assert 1.0 < stack.pixel_mm < 2.0
    assert abs(np.median(stack.hu[stack.lungs & ~stack.lesions]) + 850) < 60
