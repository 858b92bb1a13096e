"""What one YAML of `covidssl robustness` holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from covidssl.experiments import Column, Experiment
from covidssl.robustness.kinds import KINDS, SEVERITIES

Severity = Annotated[int, Field(ge=1, le=SEVERITIES)]
Bounds = Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(max_length=SEVERITIES)]


class RobustnessConfig(Experiment):
    """Configuration of `covidssl robustness`.

    Attributes:
        split: which part of the data is tested; `all` for another dataset.
        by: columns of the CSV whose values are subpopulations.
        kinds: corruptions.
        severities: of each of them, 1 to 5.
        lungs: `again` finds them on each corrupted scan, as for a scan from a file; `kept` keeps
            those of the clean one where the grid stays, which takes far less time and leaves out
            what a corruption does to finding lungs.
        attack_hu: bounds of the attack for a network of HU, the mildest first; empty for none.
        attack_grey: the same in grey levels, for a network of 8-bit slices.
        attack_steps: of projected gradient descent.
        most_scans: of each set at most, evenly over its classes and files; None for all.
        tolerated: a fall of the AUROC by more than this is said in words.
        rounds: of the bootstrap.
        run_length: consecutive files that stand for one patient when intervals are computed, where
            no patient is known and file order carries patients.
    """

    split: str = "test"
    by: tuple[Column, ...] = ()
    kinds: tuple[str, ...] = tuple(KINDS)
    severities: tuple[Severity, ...] = Field(tuple(range(1, SEVERITIES + 1)), min_length=1)
    lungs: Literal["again", "kept"] = "again"
    attack_hu: Bounds = (2.0, 5.0, 10.0, 20.0, 40.0)
    attack_grey: Bounds = (0.5, 1.0, 2.0, 4.0, 8.0)
    attack_steps: int = Field(10, ge=1, le=1000)
    most_scans: int | None = Field(None, ge=2)
    tolerated: float = Field(0.05, gt=0, lt=1)
    rounds: int = Field(2000, ge=100)
    run_length: int = Field(20, ge=1)

    @field_validator("kinds")
    @classmethod
    def _are_known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"no corruption '{unknown[0]}'; there are {', '.join(KINDS)}")
        return tuple(dict.fromkeys(kinds))

    @field_validator("severities")
    @classmethod
    def _in_order(cls, severities: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(severities)))
