"""What ships in the box beside the weights: a card that says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.commands import export
from covidssl.errors import WeightsError
from covidssl.lesion_model import BURDEN_THRESHOLD
from covidssl.model_page import lesions_markdown
from covidssl.shipped import FOLDER
from covidssl.weights import LICENCE_NOTE, load_restoration


def test_what_ships_is_small_and_says_what_it_is() -> None:
    files = sorted(path.name for path in FOLDER.iterdir())
    assert files == ["MODEL.md", "restoration.json", "restoration.safetensors"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000
    page = (FOLDER / "MODEL.md").read_text(encoding="utf-8")
    for told in ("not for diagnosis", "CC BY 4.0", "CC BY 3.0", "No probability"):
        assert told in page
    assert LICENCE_NOTE in page


def test_the_card_that_ships_says_how_well_it_localises_with_intervals() -> None:
    _, card = load_restoration(FOLDER)
    page = (FOLDER / "MODEL.md").read_text(encoding="utf-8")
    assert card.localised is not None
    assert {"2", "4", "7"} <= card.localised.cases.keys()
    for case in ("2", "4", "7"):
        for score in ("ap", "dice"):
            found = card.localised.cases[case][score]
            assert found.low <= found.value <= found.high
            assert found.low < found.high
    assert set(card.localised.design) == card.localised.cases.keys() & {"1", "3", "6"}
    assert page == lesions_markdown(card.model_dump(mode="json"), BURDEN_THRESHOLD)
    assert "Not measured" not in page


def test_an_export_for_timm_says_how_to_come_by_the_encoder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"have no 2D unet.*covidssl\.load_encoder gives this"):
        export.main(FOLDER, "timm", tmp_path / "out")
