"""Ranges by name: the presets that come with the project, or a YAML file of one's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from covidssl.errors import UsageError
from covidssl.lesions.ranges import LesionRanges
from covidssl.yaml_text import read_yaml

_NAMES: Final = (
    "paper", "ggo", "consolidation", "crazy_paving", "reversed_halo", "covid", "draem_like",
)  # fmt: skip
_HERE = Path(__file__).resolve().parent
# Inside an installed package, or in a checkout.
_FOLDERS = (_HERE / "presets", _HERE.parents[1] / "configs" / "lesions")


def preset_names() -> tuple[str, ...]:
    """Names that `preset` knows."""
    return _NAMES


@cache
def preset(name: str) -> LesionRanges:
    """The ranges of a preset.

    Raises:
        UsageError: for an unknown name, with the known ones and the nearest.
    """
    if name not in _NAMES:
        raise UsageError(_unknown(name))
    path = next((path for folder in _FOLDERS if (path := folder / f"{name}.yaml").is_file()), None)
    if path is None:
        raise UsageError(
            f"the lesion preset '{name}' is missing: looked in "
            f"{' and '.join(str(folder) for folder in _FOLDERS)}. Install covidssl again."
        )
    return LesionRanges.model_validate(read_yaml(path))


def named(value: Any) -> Any:
    """The keys of ranges, for a preset's name or the path of a YAML file; others pass through.

    Keys, those of a file too, may name a preset or a file as `preset` among them: the others are
    then changes to it.

    Raises:
        ValueError: for a name that is neither, a file that cannot be read, or files that name each
            other in a circle.
    """
    return _followed(value, ())


def _followed(value: Any, before: tuple[str, ...]) -> Any:
    """Keys of ranges, where the names `before` led here."""
    if isinstance(value, Mapping) and isinstance(value.get("preset"), str):
        start = _followed(value["preset"], before)
        return {**start, **{key: value[key] for key in value if key != "preset"}}
    if not isinstance(value, str):
        return value
    if value in before:
        raise ValueError(f"files name each other in a circle: {' -> '.join((*before, value))}")
    try:
        if value in _NAMES:
            return preset(value).model_dump()
        if Path(value).suffix in (".yaml", ".yml"):
            return _followed(read_yaml(Path(value)), (*before, value))
    except UsageError as error:
        raise ValueError(str(error).removesuffix(".")) from error
    raise ValueError(_unknown(value).removesuffix("."))


Lesions = Annotated[LesionRanges, BeforeValidator(named)]
"""Ranges in a configuration: keys and values, a preset's name, or the path of a YAML file."""


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), _NAMES, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return (
        f"unknown lesion preset '{name}': {hint}known are {', '.join(_NAMES)}, or the path of a "
        "file that ends in .yaml."
    )
