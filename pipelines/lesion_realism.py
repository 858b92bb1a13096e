"""Pseudo-lesions of every preset against the real ones of MedSeg's design cases.

    python -m pipelines.lesion_realism --data ../shared/data --out work/realism

Writes `realism.json`, the table (also into docs/lesions.md) and two pictures. A preset that was
measured with the same settings is not measured again; `--fresh` measures all anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from covidssl.errors import UsageError
from covidssl.files import write_bytes, write_json, write_text
from covidssl.lesions import LesionRanges, preset, preset_names
from covidssl.realism import (
    Design,
    Effort,
    Lesions,
    cache_key,
    measure,
    measure_real,
    pseudo_in_normal,
    read_design,
)
from covidssl.realism.regions import regions
from pipelines.realism_pictures import distribution_figure, patch_sheet
from pipelines.realism_table import fill, tables

REPOSITORY = Path(__file__).resolve().parents[1]
SHEET, FIGURE = "lesion-realism.png", "lesion-distributions.png"
QUICK = Effort(draws=1, resamples=40, epochs=2, trees=20)


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds medseg-9.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/realism"),
    docs: Annotated[Path | None, typer.Option(help="Page to fill in, with its figure.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A preset; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option(help="A look, not a measurement.")] = False,
    fresh: Annotated[bool, typer.Option(help="Measure again what is there.")] = False,
) -> None:
    """Measure, and write what was found."""
    began = time.monotonic()
    folder = data / "medseg-9"
    if not folder.is_dir():
        raise UsageError(f"{folder}: not there; data/medseg_9/README.md says where to get it.")
    # Patches are small: with more threads a convolution mostly waits.
    torch.set_num_threads(1)
    effort = QUICK if quick else Effort()
    design = read_design(folder)
    results: dict[str, Any] = {"settings": vars(effort), "presets": {}}
    remember = partial(_remembered, out / "measured", fresh=fresh)
    key = cache_key(design, None, effort)
    results["real"] = remember("real cases", key, lambda: measure_real(design, effort))
    chosen = {name: preset(name) for name in only or preset_names()}
    for number, (name, ranges) in enumerate(chosen.items(), start=1):
        typer.echo(f"{name} ({number} of {len(chosen)}), {time.monotonic() - began:.0f} s")
        key = cache_key(design, ranges, effort)
        found = remember(name, key, partial(measure, design, ranges, name, effort))
        results["presets"][name] = found
    write_json(out / "realism.json", results)
    draw(design, chosen, effort, out)
    write_text(out / "table.md", tables(results, FIGURE, SHEET) + "\n")
    if docs is not None:
        # The sheet holds pixels of the scans: they are not to be passed on with the project.
        write_bytes(docs.parent / "images" / FIGURE, (out / FIGURE).read_bytes())
        fill(docs, tables(results, f"images/{FIGURE}"))
    minutes = (time.monotonic() - began) / 60
    typer.echo(f"{minutes:.1f} minutes. Results: {out / 'realism.json'}")


def draw(design: Design, chosen: Mapping[str, LesionRanges], effort: Effort, out: Path) -> None:
    """Write both pictures: the real cases, then every preset in the normal one."""
    groups = {f"real case {case}": own for case, own in design.real.items()}
    for name, ranges in chosen.items():
        groups[name] = Lesions.of(regions(pseudo_in_normal(design, ranges, name, effort)))
    write_bytes(out / SHEET, patch_sheet(groups))
    described = {name: group.described for name, group in groups.items()}
    write_bytes(out / FIGURE, distribution_figure(described))


def _remembered(
    folder: Path, name: str, key: str, work: Callable[[], dict[str, Any]], *, fresh: bool
) -> dict[str, Any]:
    """What `work` finds, kept in a file; not done again while its key is the same."""
    path = folder / f"{name.replace(' ', '-')}.json"
    if path.is_file() and not fresh:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept["found"]
    found = work()
    write_json(path, {"key": key, "found": found})
    return found


if __name__ == "__main__":
    typer.run(main)
