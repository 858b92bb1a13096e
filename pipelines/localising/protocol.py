"""What a record of localisation says beside its numbers: the protocol, and what was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidssl.clean_slices import StoredPictures
from covidssl.config import load_config
from covidssl.errors import DataError
from covidssl.experiments import PretrainConfig
from covidssl.lesions import preset, preset_names
from covidssl.maps.lesion import SMOOTHED_MM, THICK_MM
from covidssl.pretext import PerlinPretext
from covidssl.runs import git_state, package_versions
from pipelines.localising.cases import DESIGN_CASES, RUNS_OF_SLICES, TEST_CASES
from pipelines.localising.judging import FAINT_FROM_HU, Bar, pixels_of
from pipelines.localising.measuring import ROUNDS
from pipelines.localising.scores import COMPONENTS, LESION_MAP
from pipelines.localising.thresholds import DENSE_HU, DRAWS, has_learnt_from

FORMAT = "covidssl-localisation-1"
PROTOCOL = (
    "MedSeg volumes, all slices at full size: scores are made on frames, placed back on the scan's "
    "own grid, and judged pixel by pixel inside the given lung masks; infection marked outside of "
    f"them is left out. Cases {', '.join(map(str, DESIGN_CASES))} were for design, nothing was "
    f"chosen on cases {', '.join(map(str, TEST_CASES))}. Intervals: 95 % percentiles of {ROUNDS} "
    f"resamples of whole runs of neighbouring slices, {RUNS_OF_SLICES} a scan; the scan is one "
    "patient, and the interval says nothing of others. The threshold is the one of the highest "
    "Dice on pseudo-lesions of preset covid, "
    f"{DRAWS} draws on each LUNA16 slice that a watched pretraining holds out; a network that was "
    "not watched has learnt from these slices too, with other lesions on them, and its record says "
    f"so. The part denser than {DENSE_HU:g} HU counts, since the annotation marks dense parts. "
    "What counts as dense was chosen by cases 1 and 3, so that these labels have a part in "
    f"the threshold; those of cases {', '.join(map(str, TEST_CASES))} have none. Faint ground "
    "glass, which the annotation leaves out: unmarked lung of "
    f"{FAINT_FROM_HU:g} to {DENSE_HU:g} HU in patches wider than {THICK_MM:g} mm. Lesion map: what "
    "the network takes off plus density above 0.3 of the way from lung to tissue, smoothed by "
    f"{SMOOTHED_MM:g} mm. PCA: {COMPONENTS} components of the other slices."
)
_PACKAGES = ("covidssl", "torch", "monai", "scikit-learn", "scipy", "numpy", "nibabel")


def facts_of(run: Path, pictures: StoredPictures) -> dict[str, Any]:
    """The facts of a pretraining: seed, steps, configuration, commit, minutes, weights.

    Args:
        run: its folder.
        pictures: of the store that it learnt from.

    Raises:
        DataError: when the folder is not that of a pretraining which ended.
    """
    try:
        held = json.loads((run / "record.json").read_text(encoding="utf-8"))
        card = json.loads((run / "restoration.json").read_text(encoding="utf-8"))
        text = (run / "config.yaml").read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{run}: record.json, restoration.json or config.yaml is missing or damaged; expected "
            f"the folder of a pretraining that ended."
        ) from error
    config = load_config(PretrainConfig, run / "config.yaml")
    return {
        "lesions": _preset_of(config),
        "seed": config.seed,
        "steps": card["trained_on"]["steps"],
        "slices": card["trained_on"]["pictures"],
        "learnt_from_threshold_slices": has_learnt_from(pictures, config.quality),
        "config_sha256": hashlib.sha256(text).hexdigest(),
        "weights_sha256": card["sha256"],
        "git_commit": held["git"]["commit"] if held.get("git") else None,
        "minutes": round((held.get("duration_s") or 0) / 60, 1),
        "packages": held["packages"],
    }


def record(
    name: str, scores: Mapping[str, Any], facts: Mapping[str, Any], minutes: float
) -> dict[str, Any]:
    """The record of a network; `cases` and `threshold` are those of its lesion map."""
    return {
        "format": FORMAT,
        "name": name,
        "protocol": PROTOCOL,
        "threshold": scores[LESION_MAP]["threshold"],
        "cases": scores[LESION_MAP]["cases"],
        "scores": dict(scores),
        "pretraining": dict(facts),
        "measured": _measured(minutes),
    }


def rivals_record(
    scores: Mapping[str, Any], bars: Mapping[int, Bar], fingerprint: str
) -> dict[str, Any]:
    """The record of what needs no restoration network, with the cases' pixels."""
    return {
        "format": FORMAT,
        "protocol": PROTOCOL,
        "pixels": {str(number): pixels_of(bar) for number, bar in bars.items()},
        "scores": dict(scores),
        "store": fingerprint,
        "measured": _measured(None),
    }


def _measured(minutes: float | None) -> dict[str, Any]:
    spent = {} if minutes is None else {"minutes": round(minutes, 1)}
    return {"git": git_state(), "packages": package_versions(_PACKAGES)} | spent


def _preset_of(config: PretrainConfig) -> str:
    """The preset whose lesions a pretraining drew; `own` where they are none's."""
    if not isinstance(config.pretext, PerlinPretext):
        return "none"
    lesions = config.pretext.lesions
    return next((name for name in preset_names() if preset(name) == lesions), "own")
