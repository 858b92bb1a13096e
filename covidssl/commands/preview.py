"""`covidssl preview`: clean slices in, a sheet of pseudo-lesions with their numbers out."""

from __future__ import annotations

from pathlib import Path

from covidssl.augment import to_hu
from covidssl.clean_slices import StoredFrames
from covidssl.experiments import PreviewConfig
from covidssl.files import write_text
from covidssl.frames import unit_from_frames
from covidssl.lesions import params_to_json, render, sample
from covidssl.preview import caption, sheet
from covidssl.randomness import torch_generator
from covidssl.runs import IfExists, RunFolder
from covidssl.store import Store

_STREAM = 61


def main(
    config: PreviewConfig, store_path: Path, out: Path, if_exists: IfExists = "refuse"
) -> Path:
    """Draw lesions on slices spread over a store; gives the path of the sheet.

    Raises:
        CovidsslError: for an output that exists, or a store of another pixel kind.
    """
    store = Store.open(store_path)
    stored = StoredFrames(store, config.frame)
    picture = out / "preview.png"
    with RunFolder(out, "preview", config, if_exists) as run:
        run.note_data(store=store.fingerprint)
        if run.done:
            return picture
        slices = stored.spread(config.slices)
        clean_hu = to_hu(unit_from_frames(slices.frames), config.frame.window_hu)
        generator = torch_generator(config.seed, _STREAM)
        params = sample(config.lesions, generator, len(clean_hu))
        rendered = render(clean_hu, slices.lungs, params, slices.pixel_mm)
        captions = [caption(row, f"draw {number}") for number, row in enumerate(params.rows())]
        sheet(clean_hu, slices.lungs, rendered, captions, picture)
        write_text(out / "draws.json", params_to_json(params) + "\n")
        run.note(
            summary={
                "slices": len(clean_hu),
                "lung pixels with lesion": round(
                    float((rendered.lesion_map > 0.5).sum() / slices.lungs.sum()), 4
                ),
            }
        )
    return picture
