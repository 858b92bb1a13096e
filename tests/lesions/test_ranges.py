"""Ranges that make no sense are refused, with key, value and what was expected."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from covidssl.config import load_config
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.lesions import Kinds, LesionRanges


def test_a_reversed_range_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"radius_mm: the lower end comes first, got \[30"):
        LesionRanges(radius_mm=(30.0, 10.0))


@pytest.mark.parametrize(
    "name",
    ["radius_mm", "edge_mm", "feature_mm", "texture_mm", "depth", "mesh_mm", "mesh_width_mm"],
)
def test_a_length_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}: must be above 0, got \[0, 10\]"):
        LesionRanges.model_validate({name: (0.0, 10.0)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opacity_hu": (-10.0, 10.0)}, r"opacity_hu: must not be below 0, got \[-10, 10\]"),
        ({"swallow_mm": (-1.0, 2.0)}, "swallow_mm: must not be below 0"),
        ({"periphery": (0.5, 1.5)}, r"periphery: must lie in 0 to 1, got \[0.5, 1.5\]"),
        ({"coverage": (0.0, 0.5)}, "coverage: must be above 0"),
        ({"vessels_kept": (-0.5, 0.5)}, "vessels_kept: must lie in 0 to 1"),
        ({"lacunarity": (0.5, 2.0)}, "lacunarity: must not be below 1"),
        ({"foci": (0, 3)}, r"foci: must lie in 1 to 64, got \[0, 3\]"),
        ({"octaves": (1, 99)}, "octaves: must lie in 1 to 8"),
        ({"clean_share": 1.2}, "less than or equal to 1"),
        ({"bilateral": -0.1}, "greater than or equal to 0"),
        ({"radius_mm": (1.0, float("inf"))}, "finite"),
        ({"dense_hu": (float("nan"), 0.0)}, "finite"),
        ({"opacity": (1.0, 2.0)}, "Extra inputs"),
        ({"kinds": {"nodule": 1.0}}, "Extra inputs"),
        ({"kinds": {"consolidation": -1.0}}, "greater than or equal to 0"),
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
    assert "pretext.lesions: edge_mm: must be above 0, got [0, 4]" in said
    with pytest.raises(UsageError, match=r"Did you mean 'pretext\.lesions\.kinds\.ground_glass'"):
        load_config(PretrainConfig, None, ["pretext.lesions.kinds.groundglass=1"])


def test_ranges_cannot_be_changed_afterwards() -> None:
    name = "clean_share"
    with pytest.raises(ValidationError, match="frozen"):
        setattr(LesionRanges(), name, 0.5)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Kinds(ground_glass=1), "consolidation", 1.0)  # noqa: B010 (mypy sees no setter)
