"""Which lesions a preview draws on which slices, as numbers: nothing is rendered here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import model_validator

from covidssl.clean_slices import spread_places
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PreviewConfig
from covidssl.lesions import (
    LesionParams,
    LesionRanges,
    Rendered,
    preset,
    preset_names,
    sample,
)
from covidssl.lesions.presets import named
from covidssl.randomness import torch_generator
from covidssl.store import Store, StoredSlice

OWN = "this plan"
"""Name of the column of the configuration's own `lesions`."""

_STREAM = 61


class _FromFile(LesionRanges):
    """Ranges of a file, which may name the preset or the file that it changes."""

    @model_validator(mode="before")
    @classmethod
    def _with_what_it_changes(cls, values: Any) -> Any:
        return named(values)


class Drawing(NamedTuple):
    """Draws on all slices of a preview, from one set of ranges.

    Attributes:
        name: of the column.
        ranges: what they were drawn from; None where only the numbers are known.
        key: of the generator they were drawn with, see `covidssl.randomness`; None likewise.
        params: a draw a slice, or one for the slab.
        recorded: what `rendered_hashes` gave when they were first drawn; None: not recorded.
    """

    name: str
    ranges: LesionRanges | None
    key: tuple[int, ...] | None
    params: LesionParams
    recorded: tuple[str, ...] | None = None


class Plan(NamedTuple):
    """A whole preview, as numbers.

    Attributes:
        places: of the slices among those of the store.
        sheet: what the sheet shows.
        columns: what the page shows, side by side.
        slab: whether the slices are neighbours, drawn through in three dimensions.
        written_by: version that first drew them; empty for new draws, or where not known.
    """

    places: tuple[int, ...]
    sheet: Drawing
    columns: tuple[Drawing, ...]
    slab: bool = False
    written_by: str = ""

    def agreement(self, hashes: Sequence[Sequence[str]]) -> tuple[int, int]:
        """Pictures rendered to the bits that were recorded, and pictures with a record.

        Args:
            hashes: `rendered_hashes` of the sheet, then of each column.
        """
        pairs = [
            (before, now)
            for drawing, row in zip((self.sheet, *self.columns), hashes, strict=True)
            for before, now in zip(drawing.recorded or (), row, strict=False)
        ]
        return sum(before == now for before, now in pairs), len(pairs)


def fresh_plan(config: PreviewConfig, places: Sequence[int]) -> Plan:
    """New draws on the slices at these places of a store: one a slice, or one for a slab.

    A column's draws depend on the seed and its ranges, not on what stands beside it.
    """
    key, count = (config.seed, _STREAM), 1 if config.slab else len(places)

    def drawn(name: str, ranges: LesionRanges) -> Drawing:
        return Drawing(name, ranges, key, sample(ranges, torch_generator(*key), count))

    columns = {name: preset(name) for name in config.presets} | config.ranges
    if config.lesions not in columns.values() and (config.lesions != LesionRanges() or not columns):
        columns = {OWN: config.lesions} | columns
    shown = tuple(drawn(name, ranges) for name, ranges in columns.items())
    return Plan(tuple(places), drawn(OWN, config.lesions), shown, config.slab)


def with_pixels_of(store: Store, config: PreviewConfig) -> PreviewConfig:
    """The configuration, with the store's kind of pixel where it says none."""
    if "pixels" in config.frame.model_fields_set:
        return config
    frame = config.frame.model_copy(update={"pixels": store.pixels})
    return config.model_copy(update={"frame": frame})


def chosen_places(store: Store, config: PreviewConfig) -> tuple[int, ...]:
    """Places of the slices that a preview shows: spread over the store, or neighbours.

    Raises:
        DataError: when no scan holds as many neighbours.
    """
    if config.slab:
        return _neighbouring_places(store, config.slices)
    return spread_places(len(store.slices), config.slices)


def are_neighbours(below: StoredSlice, above: StoredSlice) -> bool:
    """Whether two slices lie next to each other in one scan."""
    return (below.scan, below.index + 1) == (above.scan, above.index)


def _neighbouring_places(store: Store, wanted: int) -> tuple[int, ...]:
    """The middle of the longest run of neighbouring slices."""
    scans, indexes = store.slices.scan_numbers, store.slices.indexes
    begins = (np.diff(scans) != 0) | (np.diff(indexes) != 1)
    runs = np.split(np.arange(len(scans)), np.flatnonzero(begins) + 1)
    longest = max(runs, key=len).tolist()
    if len(longest) < wanted:
        raise DataError(
            f"{store.folder}: no scan holds {wanted} neighbouring slices with enough lung; the "
            f"most are {len(longest)}. Ask for a thinner slab, or prepare volumes."
        )
    first = (len(longest) - wanted) // 2
    return tuple(longest[first : first + wanted])


def compared(config: PreviewConfig, lesions: Sequence[str]) -> PreviewConfig:
    """The configuration with these presets and YAML files of ranges as its only columns.

    Raises:
        UsageError: for what is neither, for a file that holds no ranges, or a name given twice.
    """
    if not lesions:
        return config
    presets: list[str] = []
    ranges: dict[str, LesionRanges] = {}
    for given in lesions:
        path = Path(given)
        name = given if given in preset_names() else path.stem
        if name in presets or name in ranges:
            raise UsageError(f"--lesions {given}: a column '{name}' was given already.")
        if given in preset_names():
            presets.append(given)
        elif path.suffix in (".yaml", ".yml"):
            read = load_config(_FromFile, path)
            ranges[name] = LesionRanges.model_validate(read.model_dump())
        else:
            raise UsageError(
                f"--lesions {given}: is neither a preset ({', '.join(preset_names())}) nor a YAML "
                f"file of ranges."
            )
    # By the names of the fields alone: what was left out stays left out.
    kept = {name: getattr(config, name) for name in config.model_fields_set}
    return PreviewConfig(**kept | {"presets": tuple(presets), "ranges": ranges})


def rendered_hashes(rendered: Rendered) -> tuple[str, ...]:
    """SHA-256 of each slice's bits: the corrupted slice, then the lesion map, float32."""
    corrupted, lesion = (picture.detach().cpu().float().numpy() for picture in rendered)
    return tuple(
        hashlib.sha256(np.stack([one, other]).astype("<f4").tobytes()).hexdigest()
        for one, other in zip(corrupted, lesion, strict=True)
    )
