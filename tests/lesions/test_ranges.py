"""Ranges that make no sense are refused, with key, value and what was expected."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from covidssl.config import load_config
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.lesions import Kinds, LesionRanges
from covidssl.lesions.ranges import BOUNDS


def test_a_reversed_range_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"radius_mm: the lower end comes first, got \[30"):
        LesionRanges(radius_mm=(30.0, 10.0))


@pytest.mark.parametrize(
    "name", ["radius_mm", "edge_mm", "feature_mm", "texture_mm", "mesh_mm", "mesh_width_mm"]
)
def test_a_length_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}: must lie in 0.1 to 1000, got \[0, 10\]"):
        LesionRanges.model_validate({name: (0.0, 10.0)})


def test_every_range_and_no_other_key_has_bounds() -> None:
    fields = LesionRanges().model_dump()
    assert set(BOUNDS) == {name for name, value in fields.items() if isinstance(value, tuple)}


@pytest.mark.parametrize("name", BOUNDS)
def test_ranges_reach_to_their_bounds_and_no_further(name: str) -> None:
    low, high = BOUNDS[name]
    assert getattr(LesionRanges.model_validate({name: (low, high)}), name) == (low, high)
    step = 1 if name in ("foci", "octaves") else 1e-6
    said = rf"{name}: must lie in {low:g} to {high:g}, got \["
    for wrong in ((low - step, high), (low, high + step), (high + step, high + step)):
        with pytest.raises(ValidationError, match=said):
            LesionRanges.model_validate({name: wrong})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opacity_hu": (-10.0, 10.0)}, r"opacity_hu: must lie in 0 to 3000, got \[-10, 10\]"),
        ({"swallow_mm": (-1.0, 2.0)}, "swallow_mm: must lie in 0 to 1000"),
        ({"haze_mm": (-1.0, 5.0)}, "haze_mm: must lie in 0 to 1000"),
        ({"haze_share": (0.1, 0.6)}, r"haze_share: must lie in 0 to 0.5, got \[0.1, 0.6\]"),
        ({"periphery": (0.5, 1.5)}, r"periphery: must lie in 0 to 1, got \[0.5, 1.5\]"),
        ({"coverage": (0.0, 0.5)}, "coverage: must lie in 0.001 to 1"),
        ({"vessels_kept": (-0.5, 0.5)}, "vessels_kept: must lie in 0 to 1"),
        ({"lacunarity": (1.0, 2.0)}, r"lacunarity: must lie in 1.05 to 8, got \[1, 2\]"),
        ({"lacunarity": (17.0, 20.0)}, "lacunarity: must lie in 1.05 to 8"),
        ({"feature_mm": (0.01, 0.05)}, "feature_mm: must lie in 0.1 to 1000"),
        ({"elongation": (150.0, 200.0)}, "elongation: must lie in 1 to 20"),
        ({"edge_mm": (1e-50, 1e-50)}, "edge_mm: must lie in 0.1 to 1000"),
        ({"foci": (0, 3)}, r"foci: must lie in 1 to 64, got \[0, 3\]"),
        ({"octaves": (1, 99)}, "octaves: must lie in 1 to 8"),
        ({"clean_share": 1.2}, "less than or equal to 1"),
        ({"bilateral": -0.1}, "greater than or equal to 0"),
        ({"radius_mm": (1.0, float("inf"))}, "finite"),
        ({"dense_hu": (float("nan"), 0.0)}, "finite"),
        ({"opacity": (1.0, 2.0)}, "Extra inputs"),
        ({"kinds": {"nodule": 1.0}}, "Extra inputs"),
        ({"kinds": {"consolidation": -1.0}}, "greater than or equal to 0"),
        ({"kinds": {"consolidation": 1e308}}, "less than or equal to 1000000"),
        ({"kinds": {"consolidation": 0.0}}, "kinds: one of ground_glass, .* must be above 0"),
    ],
)
def test_ranges_without_meaning_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LesionRanges.model_validate(changes)


def test_a_wrong_range_in_a_configuration_names_key_value_and_expectation() -> None:
    with pytest.raises(UsageError) as refusal:
        load_config(PretrainConfig, None, ["pretext.lesions.edge_mm=[0, 4]"])
    said = str(refusal.value)
    assert "pretext.lesions: edge_mm: must lie in 0.1 to 1000, got [0, 4]" in said
    with pytest.raises(UsageError, match=r"Did you mean 'pretext\.lesions\.kinds\.ground_glass'"):
        load_config(PretrainConfig, None, ["pretext.lesions.kinds.groundglass=1"])


def test_ranges_cannot_be_changed_afterwards() -> None:
    name = "clean_share"
    with pytest.raises(ValidationError, match="frozen"):
        setattr(LesionRanges(), name, 0.5)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Kinds(ground_glass=1), "consolidation", 1.0)  # noqa: B010 (mypy sees no setter)
