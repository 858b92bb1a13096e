"""`covidssl preview`: clean slices in, pseudo-lesions and their numbers out, as sheet and page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from covidssl.clean_slices import StoredFrames
from covidssl.experiments import PreviewConfig
from covidssl.files import sha256_of, write_text
from covidssl.preview import (
    Plan,
    Shown,
    caption,
    chosen_places,
    column_of,
    draws_json,
    fresh_plan,
    origin,
    read_replay,
    rendered_hashes,
    sheet,
    shown_slices,
    with_pixels_of,
    write_gallery,
)
from covidssl.progress import track
from covidssl.runs import IfExists, RunFolder
from covidssl.store import Store

log = logging.getLogger(__name__)


def main(
    config: PreviewConfig,
    store_path: Path | str,
    out: Path,
    if_exists: IfExists = "refuse",
    replay: Path | None = None,
    allow_unfinished: bool = False,
) -> Path:
    """Draw lesions on slices spread over a store; gives the path of the sheet.

    Args:
        config: what to draw; with `replay` it may set the frame alone.
        store_path: the prepared store: a folder, or an address such as `s3://bucket/store`.
        out: folder for `preview.html`, `preview.png` and `draws.json`.
        if_exists: what becomes of a folder that is there.
        replay: draws to render again: a `draws.json`, or draws as `params_to_json` writes them.
        allow_unfinished: take what is whole of an unfinished store.

    Raises:
        CovidsslError: for an output that exists, a store of another pixel kind than is asked for,
            or a replay that does not fit it; nothing is written then.
    """
    store = Store.open(store_path, allow_unfinished)
    if replay is None:
        config = with_pixels_of(store, config)
        stored = StoredFrames(store, config.frame)
        plan, data = fresh_plan(config, chosen_places(store, config)), {}
    else:
        plan, config = read_replay(replay, store, config)
        stored, data = StoredFrames(store, config.frame), {"replay": sha256_of(replay)}
    shown = shown_slices(stored, plan)
    with RunFolder(out, "preview", config, if_exists) as run:
        run.note_data(store=store.fingerprint, **data)
        if not run.done:
            hashes, summary = _draw(plan, shown, out, origin(plan, config, store))
            write_text(out / "draws.json", draws_json(plan, config, store, hashes))
            run.note(summary=summary)
            log.info("Presets side by side: %s", out / "preview.html")
    return out / "preview.png"


def _draw(
    plan: Plan, shown: Shown, out: Path, facts: list[tuple[str, str]]
) -> tuple[list[tuple[str, ...]], dict[str, Any]]:
    """Write the sheet and the page; gives the hashes of what was rendered, and a summary."""
    rendered = shown.render(plan.sheet.params)
    share = float((rendered.lesion_map > 0.5).sum() / shown.lungs.sum())
    captions = [caption(row, f"draw {n}") for n, row in enumerate(shown.rows(plan.sheet.params))]
    sheet(shown.clean_hu, shown.lungs, rendered, captions, out / "preview.png")
    hashes, columns = [rendered_hashes(rendered)], []
    for drawing in track(plan.columns, "rendering", len(plan.columns)):
        rendered = shown.render(drawing.params)
        hashes.append(rendered_hashes(rendered))
        columns.append(column_of(shown, drawing, rendered, hashes[-1]))
    summary: dict[str, Any] = {
        "slices": len(shown.names),
        "columns": len(columns),
        "lung pixels with lesion": round(share, 4),
    }
    same, recorded = plan.agreement(hashes)
    if recorded:
        summary["draws rendered to the recorded bits"] = f"{same} of {recorded}"
    if same < recorded:
        log.warning(
            "%d of %d draws came out with other bits than when version %s recorded them; another "
            "version or machine computes otherwise.", recorded - same, recorded, plan.written_by,
        )  # fmt: skip
    write_gallery(out / "preview.html", shown, columns, facts)
    return hashes, summary
