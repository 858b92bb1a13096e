"""The comparison of one set of ranges with the real lesions of the design cases."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.lesions import LesionRanges
from covidssl.metrics import Estimate
from covidssl.randomness import numpy_generator, torch_generator
from covidssl.realism.cases import DISEASED_CASES, NORMAL_CASE, Stack, read_case, without_lesions
from covidssl.realism.descriptors import BINS_HU, NAMES, PROFILE_MM, Described, describe
from covidssl.realism.judges import (
    Examples,
    Folding,
    Judge,
    examples,
    forest,
    net,
    two_sample_auroc,
)
from covidssl.realism.pseudo import free_lung, matched_rows, with_discs, with_pseudo_lesions
from covidssl.realism.regions import Region, dense_part, regions
from covidssl.realism.two_sample import alone, distances, dividing_hu

PERCENTILES = (5, 10, 25, 50, 75, 90, 95)
_DISCS_PER_SLICE = 6
_FOLDINGS: tuple[Folding, ...] = ("blocks", "cases")


@dataclass(frozen=True)
class Effort:
    """How much is drawn and fitted.

    Attributes:
        draws: pseudo-lesion draws for each real slice that shows a lesion.
        resamples: of the bootstrap.
        epochs: of the network that judges.
        trees: of the forest that judges.
        seed: of everything.
    """

    draws: int = 2
    resamples: int = 400
    epochs: int = 25
    trees: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Lesions:
    """Lesions and their descriptors."""

    found: list[Region]
    described: Described

    @classmethod
    def of(cls, found: list[Region]) -> Lesions:
        """Describe them."""
        return cls(found, describe(found))

    @property
    def examples(self) -> Examples:
        """As judges see them."""
        return examples(self.found, self.described)


@dataclass(frozen=True)
class Design:
    """The real side: slices with real lesions, normal ones, and what the lesions look like.

    Attributes:
        diseased: cases 1 and 3, only slices that show a lesion.
        free: lung far from any marked lesion, of the same slices.
        normal: case 6 without the few marked slices.
        real: the marked lesions of each case.
        dense_hu: what tells the pixels of marked lesions best from those around them.
    """

    diseased: dict[int, Stack]
    free: dict[int, NDArray[np.bool_]]
    normal: Stack
    real: dict[int, Lesions]
    dense_hu: float

    @property
    def together(self) -> Lesions:
        """The marked lesions of both cases."""
        return Lesions.of([region for own in self.real.values() for region in own.found])

    def dense(self) -> Lesions:
        """The part of the marked lesions denser than `dense_hu`."""
        return Lesions.of(
            [found for stack in self.diseased.values() for found in _dense(stack, self.dense_hu)]
        )


def read_design(folder: Path) -> Design:
    """Read the design cases; see `covidssl.realism.cases` for which and why."""
    stacks = {case: read_case(folder, case) for case in DISEASED_CASES}
    diseased = {
        case: stack.take(np.flatnonzero(stack.lesions.any((1, 2))))
        for case, stack in stacks.items()
    }
    real = {case: Lesions.of(regions(stack)) for case, stack in diseased.items()}
    marked = describe([region for own in real.values() for region in own.found])
    return Design(
        diseased=diseased,
        free={case: free_lung(stack) for case, stack in diseased.items()},
        normal=without_lesions(read_case(folder, NORMAL_CASE)),
        real=real,
        dense_hu=dividing_hu(marked),
    )


def pseudo_in_normal(design: Design, ranges: LesionRanges, name: str, effort: Effort) -> Stack:
    """Pseudo-lesions in the normal case, at the slice levels of the real ones."""
    key = zlib.crc32(name.encode())
    levels = np.concatenate([stack.level for stack in design.diseased.values()])
    rng = numpy_generator(effort.seed, key, 1)
    rows = matched_rows(np.repeat(levels, effort.draws), design.normal, rng)
    generator = torch_generator(effort.seed, key, 2)
    return with_pseudo_lesions(design.normal.take(rows), ranges, generator, name)


def pseudo_beside_real(
    design: Design, ranges: LesionRanges, name: str, effort: Effort
) -> list[tuple[Stack, NDArray[np.bool_]]]:
    """Pseudo-lesions in the slices of the real ones; those that leave free lung do not count."""
    key, drawn = zlib.crc32(name.encode()), []
    for case, stack in design.diseased.items():
        # Twice as many: most of what falls near a real lesion is left out.
        rows = np.repeat(np.arange(len(stack.hu)), 2 * effort.draws)
        generator = torch_generator(effort.seed, key, 3, case)
        pseudo = with_pseudo_lesions(stack.take(rows), ranges, generator, name)
        drawn.append((pseudo, design.free[case][rows]))
    return drawn


def measure(design: Design, ranges: LesionRanges, name: str, effort: Effort) -> dict[str, Any]:
    """Everything about one set of ranges, as plain numbers.

    `normal` has pseudo-lesions in another scan than the real ones, `beside` in the same slices;
    `dense` compares what is denser than `Design.dense_hu` on both sides.
    """
    real, dense = design.together, design.dense()
    key = (effort.seed, zlib.crc32(name.encode()), 4)
    in_normal = pseudo_in_normal(design, ranges, name, effort)
    beside = pseudo_beside_real(design, ranges, name, effort)
    pairs = {
        "normal": (real, Lesions.of(regions(in_normal))),
        "normal_dense": (dense, Lesions.of(_dense(in_normal, design.dense_hu))),
        "beside": (real, Lesions.of([r for s, keep in beside for r in regions(s, keep)])),
        "beside_dense": (
            dense,
            Lesions.of([r for s, keep in beside for r in _dense(s, design.dense_hu, keep)]),
        ),
    }
    found: dict[str, Any] = {"ranges": ranges.model_dump(mode="json")}
    for view, (left, pseudo) in pairs.items():
        found[view] = {
            "lesions": len(pseudo.found),
            "percentiles": percentiles(pseudo.described),
            "distances": distances(left.described, pseudo.described, effort.resamples, key),
            "alone": alone(left.described, pseudo.described),
        }
        if view != "normal_dense":
            found[view]["auroc"] = told_apart(left, pseudo, effort, key)
    return found


def measure_real(design: Design, effort: Effort) -> dict[str, Any]:
    """What gives the other numbers a scale: real against real, and scan against scan."""
    first, second = (design.real[case] for case in DISEASED_CASES)
    key = (effort.seed, 5)
    together = design.together
    return {
        "dense_hu": design.dense_hu,
        "cases": {
            stack.name: {
                "slices": len(stack.hu),
                "lesions": len(design.real[case].found),
                "blocks": len(np.unique(design.real[case].described.cluster)),
                "pixel_mm": stack.pixel_mm,
                "percentiles": percentiles(design.real[case].described),
            }
            for case, stack in design.diseased.items()
        },
        "together": percentiles(together.described),
        "dense": percentiles(design.dense().described),
        "one_case_against_the_other": {
            "distances": distances(first.described, second.described, effort.resamples, key),
            "auroc": told_apart(first, second, effort, key, foldings=("blocks",)),
        },
        "lung_without_lesion": _scan_against_scan(design, effort),
    }


def told_apart(
    real: Lesions,
    pseudo: Lesions,
    effort: Effort,
    key: tuple[int, ...],
    foldings: Sequence[Folding] = _FOLDINGS,
) -> dict[str, dict[str, Estimate | None]]:
    """AUROC of both judges under each way of holding out, None where there is too little."""
    judges: Mapping[str, Judge] = {
        "net": partial(net, epochs=effort.epochs),
        "forest": partial(forest, trees=effort.trees),
    }
    if not real.found or not pseudo.found:
        return {judge: dict.fromkeys(foldings) for judge in judges}
    sides = real.examples, pseudo.examples
    return {
        name: {folding: two_sample_auroc(*sides, judge, folding, key) for folding in foldings}
        for name, judge in judges.items()
    }


def percentiles(described: Described) -> dict[str, Any]:
    """Percentiles of each descriptor and of the pixels, and the mean profile over the border."""
    found: dict[str, Any] = {"at": list(PERCENTILES)}
    for name in NAMES:
        known = described.column(name)[np.isfinite(described.column(name))]
        found[name] = [float(v) for v in np.percentile(known, PERCENTILES)] if len(known) else None
    for name, shares in (("inside", described.inside), ("ring", described.ring)):
        known = shares[np.isfinite(shares[:, 0])]
        found[f"{name}_pixels"] = _pixel_percentiles(known) if len(known) else None
    profile = [column[np.isfinite(column)] for column in described.profile.T]
    found["profile"] = {
        f"{mm:g} mm": float(column.mean())
        for mm, column in zip(PROFILE_MM, profile, strict=True)
        if len(column)
    }
    return found


def cache_key(design: Design, ranges: LesionRanges | None, effort: Effort) -> str:
    """Text that changes with whatever a measurement depends on.

    The lesion engine is in it through what it draws, this stage through its sources.
    """
    stacks = [stack_digest(stack) for stack in (*design.diseased.values(), design.normal)]
    sources = sources_digest(Path(__file__).parent)
    content: list[Any] = [vars(effort), stacks, design.dense_hu, sources]
    if ranges is not None:
        generator = torch_generator(effort.seed, 8)
        drawn = with_pseudo_lesions(design.normal, ranges, generator, "key").hu
        content += [ranges.model_dump(mode="json"), hashlib.sha256(drawn.tobytes()).hexdigest()]
    return json.dumps(content, sort_keys=True)


def stack_digest(stack: Stack) -> str:
    """SHA-256 of all that a stack holds."""
    digest = hashlib.sha256(repr((stack.name, stack.pixel_mm, stack.hu.shape)).encode())
    for array in (stack.hu, stack.lungs, stack.lesions, stack.level, stack.cluster):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def sources_digest(folder: Path) -> str:
    """SHA-256 of the names and the text of the Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _scan_against_scan(design: Design, effort: Effort) -> dict[str, Any]:
    """Discs of untouched lung, 15 mm across: those of case 6 against those of cases 1 and 3."""
    discs: list[Lesions] = []
    everywhere = free_lung(design.normal)
    groups = [(list(design.diseased.values()), list(design.free.values()))]
    groups.append(([design.normal], [everywhere]))
    for number, (stacks, free) in enumerate(groups):
        found: list[Region] = []
        for case, (stack, allowed) in enumerate(zip(stacks, free, strict=True)):
            rows = np.repeat(np.arange(len(stack.hu)), _DISCS_PER_SLICE // (2 - number))
            rng = numpy_generator(effort.seed, 6, number, case)
            found += regions(with_discs(stack.take(rows), allowed[rows], rng))
        discs.append(Lesions.of(found))
    return {
        "lesions": [len(own.found) for own in discs],
        "auroc": told_apart(discs[0], discs[1], effort, (effort.seed, 7)),
    }


def _dense(stack: Stack, dense_hu: float, keep: NDArray[np.bool_] | None = None) -> list[Region]:
    return regions(replace(stack, lesions=dense_part(stack, dense_hu)), keep)


def _pixel_percentiles(shares: NDArray[np.float64]) -> list[float]:
    """HU below which a share of the pixels lies, every lesion weighing the same."""
    reached = np.concatenate([[0.0], shares.mean(axis=0).cumsum()])
    return [float(v) for v in np.interp(np.array(PERCENTILES) / 100, reached, BINS_HU)]
